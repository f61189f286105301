"""What TPE keeps in its journal, and how it goes on from there."""

import optuna

from fuxictr_stem.tuning.trials import FAILED, PRUNED
from tests.support.made_up_trials import OWN, ended, make, play


def study(folder):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    )
    return optuna.load_study(study_name="study", storage=storage)


def test_tpe_goes_on_where_it_was_killed(tmp_path):
    first = make(tmp_path)
    points = play(first, range(3))
    points.append(first.settings(3))  # runs when the search is killed
    journal = tmp_path / "study.journal"
    with journal.open("a") as file:
        file.write('{"op_code": 5, "worker')  # half a line
    (tmp_path / "study.journal.lock").touch()
    again = make(tmp_path)
    assert again.num_chosen() == 4
    assert [again.settings(number) for number in range(4)] == points
    again.tell(ended(3, points[3]))
    again.tell(ended(1, points[1]))  # read once more from the disk
    later = play(again, range(4, 8))
    # What is drawn after the start is not what was drawn before.
    assert all(point not in points for point in later)
    states = [trial.state.name for trial in study(tmp_path).trials]
    assert states == ["COMPLETE"] * 8


def test_a_trial_that_failed_is_tried_again_by_the_next_start(tmp_path):
    first = make(tmp_path)
    points = play(first, range(2))
    points.append(first.settings(2))
    first.tell(ended(2, points[2], FAILED))
    assert first.settings(2) == points[2]
    assert first.settings(3) != points[2]
    again = make(tmp_path)
    assert again.num_chosen() == 4
    assert again.settings(2) == points[2]
    again.tell(ended(2, points[2]))
    assert [trial.state.name for trial in study(tmp_path).trials].count("COMPLETE") == 3


def test_what_the_journal_holds_is_for_the_dashboard(tmp_path):
    sampler = make(tmp_path)
    play(sampler, range(2))
    point = sampler.settings(2)
    sampler.tell(ended(2, point, PRUNED))
    done, _, pruned = study(tmp_path).trials
    assert done.params == {**OWN, "units": "[8]"}
    assert done.user_attrs["expid"] == "t0"
    assert done.values == [-0.01]
    assert pruned.state.name == "PRUNED"
    assert len(pruned.intermediate_values) == 2
    assert study(tmp_path).direction.name == "MAXIMIZE"


def test_own_settings_outside_of_the_space_are_tried_all_the_same(tmp_path):
    own = {**OWN, "learning_rate": 0.5, "units": [16]}
    sampler = make(tmp_path, own=own)
    assert play(sampler, range(3))[0] == own
    assert study(tmp_path).trials[0].params == {"epochs": 2, "optimizer": "adam"}


def test_several_objectives_each_have_their_direction(tmp_path):
    sampler = make(tmp_path, modes=("max", "min"))
    for number in range(3):
        settings = sampler.settings(number)
        sampler.tell(ended(number, settings, like_AUC=0.7, view_logloss=0.4))
    assert [d.name for d in study(tmp_path).directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study(tmp_path).trials[2].values == [0.7, 0.4]
