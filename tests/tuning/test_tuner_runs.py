"""Trials as runs: what is made again, what is pruned, when no more are started; all runs are made up."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.tuner_project import RATES, results

pytestmark = pytest.mark.usefixtures("root_logging")


def test_a_second_start_makes_nothing_and_other_data_everything(fake):
    assert fake.tune() == 0
    first = results()
    assert fake.tune("--gpu", "-1", "-1") == 0
    assert results() == first
    fake.frames["train"] = fake.frames["train"].head(500)
    killed = next(iter(first)).parent  # one that has saved a state, but not finished
    (killed / "result.json").unlink()
    (killed / "states").mkdir()
    assert fake.tune() == 0
    assert not (killed / "states").exists()
    after = results()
    assert after.keys() == first.keys()
    assert all(after[path] != first[path] for path in first)


def test_a_tag_chooses_trials(fake, capfd):
    assert fake.tune("--tag", "002") == 0
    assert len(results()) == 1
    assert fake.tune("--tag", "007") == 2
    assert "no trial has it in its id" in capfd.readouterr().err
    fake.tuner |= {"sampler": "tpe", "trials": 2}
    assert fake.tune("--tag", "001") == 2


def test_variants_of_the_dataset_have_names_and_data_of_their_own(fake):
    fake.tuner["tuner_space"] = {"min_categr_count": [12, 21]}
    assert fake.tune() == 0
    data = [json.loads(path.read_text())["settings"]["data"] for path in results()]
    assert len(set(data)) == len({path.parent.parent.name for path in results()}) == 2


def test_the_budget_ends_the_search(fake, capfd):
    fake.tuner["budget_minutes"] = 1.0e-9
    assert fake.tune() == 2
    assert "budget_minutes" in capfd.readouterr().err
    fake.tuner["budget_minutes"] = 2.5  # each made-up trial says that it took a minute
    fake.tuner["tuner_space"]["learning_rate"] = RATES[:2]
    assert fake.tune() == 0
    fake.tuner["budget_minutes"] = 1.5
    fake.tuner["tuner_space"]["learning_rate"] = RATES
    shutil.rmtree("toy_tuner")
    assert fake.tune() == 0
    assert "2 of 4 trials" in capfd.readouterr().out


def test_hopeless_trials_are_pruned_and_stay_so(fake, capfd):
    fake.tuner |= {"pruning": True}
    fake.tuner["tuner_space"]["learning_rate"] = [0.01, 0.008, 0.006, 0.005, 0.004, 1e-5, 0.0055]
    assert fake.tune() == 0
    assert "7 of 7 trials: 6 done, 1 pruned" in capfd.readouterr().out
    (pruned,) = Path("toy_tuner/trials").rglob("pruned.json")
    assert pruned.parent.name.startswith("toy_test_006_")
    assert len(json.loads(pruned.read_text())["evaluations"]) == 1
    assert len(results()) == 6
    # Nothing of it is left, and the next start does not make it again.
    assert not list(Path("checkpoints").rglob("toy_test_006_*"))
    stamp = pruned.stat().st_mtime_ns
    assert fake.tune() == 0
    assert pruned.stat().st_mtime_ns == stamp
