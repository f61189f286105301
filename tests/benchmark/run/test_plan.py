"""Which runs a benchmark needs, their keys, and what each is started with."""

import pytest

from fuxictr_stem.tuning.run_spec import Outcomes
from fuxictr_stem.tuning.trials import monitored
from tests.support.benchmark_project import BENCHMARK, load, make_plan

pytestmark = pytest.mark.slow


def result(auc):
    valid = {"AUC": auc}
    return {"valid": valid, "evaluations": [{"valid": valid}]}


def test_the_plan_searches_first_and_trains_the_best_trial_with_the_other_seeds(project):
    plan = make_plan(load(project), {"torch": "1"})
    assert plan.total == 4 * (2 + 1)
    outcomes, seeds = Outcomes(), []
    while wanted := list(plan.wanted(outcomes)):
        for spec in wanted:
            # The second trial is the better one for STEMNet, the first for the others.
            rate = spec.trial["learning_rate"]
            good = rate == 0.001 if spec.expid == "STEMNet_toy" else rate == 0.01
            outcomes.done[spec.key] = result(0.8 if good else 0.7)
            seeds.append(spec.seed)
    assert len(outcomes.done) == plan.total
    assert seeds == [1] * 8 + [2] * 4
    assert plan.final("STEMNet_toy", outcomes)[0].trial == {"learning_rate": 0.001}
    assert plan.final("SharedBottom_toy", outcomes)[0].trial == {"learning_rate": 0.01}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_every_experiment_gets_as_many_trials(project, tmp_path, sampler):
    space = {"learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True}}
    project.benchmark |= {"search": space, "sampler": sampler, "trials": 3}
    plan = make_plan(load(project), folder=tmp_path)
    assert plan.total == 4 * (3 + 1)
    outcomes = Outcomes()
    # One at a time, and killed after seven.
    while spec := next(plan.wanted(outcomes), None):
        outcomes.done[spec.key] = result(0.8 - abs(spec.trial["learning_rate"] - 0.02))
        plan.ended(spec, outcomes, is_old=False)
        if len(outcomes.done) == 7:
            plan = make_plan(load(project), folder=tmp_path)
    assert len(outcomes.done) == plan.total
    for expid, search in plan.searches.items():
        rates = [spec.trial["learning_rate"] for spec in search.chosen]
        assert rates[0] == 0.01  # the experiment's own
        assert len(set(rates)) == 3
        best = plan.final(expid, outcomes)[0].trial["learning_rate"]
        assert best == min(rates, key=lambda rate: abs(rate - 0.02))


def test_a_failed_trial_counts_as_spent(project):
    plan = make_plan(load(project))
    first, second = plan.searches["STEMNet_toy"].chosen
    outcomes = Outcomes({second.key: result(0.6)}, {first.key: "diverged"})
    assert plan.final("STEMNet_toy", outcomes)[0].key == second.key
    assert plan.spec("STEMNet_toy", 2, second.trial) in list(plan.wanted(outcomes))


@pytest.mark.parametrize(
    "change", ["data", "version", "setting", "seed", "trial", "threads", "device"]
)
def test_a_run_has_another_key_when_anything_decisive_changes(project, change):
    versions = {"torch": "1"}
    before = make_plan(load(project), versions).spec("STEMNet_toy", 1, {"learning_rate": 0.1})
    seed, trial, more = 1, {"learning_rate": 0.1}, {}
    if change == "data":
        more = {"data": {"STEMNet_toy": "other"}}
    elif change == "version":
        versions = {"torch": "2"}
    elif change == "setting":
        project.experiments["STEMNet_toy"]["batch_size"] = 32
    elif change == "seed":
        seed = 2
    elif change == "trial":
        trial = {"learning_rate": 0.2}
    elif change == "device":
        more = {"device": "NVIDIA H100"}
    else:
        project.benchmark["threads"] = 2
    after = make_plan(load(project), versions, **more).spec("STEMNet_toy", seed, trial)
    assert after.key != before.key


def test_other_experiments_do_not_change_a_runs_key(project):
    before = make_plan(load(project)).spec("STEMNet_toy", 1, {})
    project.experiments["MMoE_toy"] = {**project.model, "model": "MMoE"}
    del project.experiments["MMoE_toy"]["num_shared_experts"]
    project.benchmark["seeds"] = [1, 2, 3]
    after = make_plan(load(project)).spec("STEMNet_toy", 1, {})
    assert after.key == before.key


@pytest.mark.parametrize("tracker", [None, "tensorboard"])
def test_the_runs_are_one_group_of_their_trackers_and_the_same_runs_without(project, tracker):
    project.benchmark["settings"] = {**BENCHMARK["settings"], "tracker": tracker}
    project.model["tracker_group"] = "mine"
    benchmark = load(project)
    plan = make_plan(benchmark)
    (spec, *_) = plan.wanted(Outcomes())
    assert spec.overrides["tracker_group"] == "out"
    assert spec.overrides["tracker"] == tracker
    benchmark.settings[spec.expid].pop("tracker")
    assert plan.spec(spec.expid, spec.seed, spec.trial).key == spec.key


def test_a_mixed_monitor_is_weighed():
    valid = {"like_AUC": 0.8, "view_AUC": 0.6}
    assert monitored({"like_AUC": 0.25, "view_AUC": 0.75}, valid) == pytest.approx(0.65)
