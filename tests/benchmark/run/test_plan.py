"""Which runs a benchmark needs, and their keys."""

import pytest

from fuxictr_stem.benchmark.run.plan import Plan, monitored
from tests.support.benchmark_project import load

pytestmark = pytest.mark.slow


def test_the_plan_searches_first_and_trains_the_best_trial_with_the_other_seeds(project):
    plan = Plan(load(project), dict.fromkeys(project.experiments, "data"), {"torch": "1"})
    assert plan.total() == 4 * (2 + 1)
    done, seeds = {}, []
    while wanted := list(plan.wanted(done, {})):
        for spec in wanted:
            # The second trial is the better one for STEMNet, the first for the others.
            rate = spec.trial["learning_rate"]
            good = rate == 0.001 if spec.expid == "STEMNet_toy" else rate == 0.01
            done[spec.key] = {"valid": {"AUC": 0.8 if good else 0.7}}
            seeds.append(spec.seed)
    assert len(done) == plan.total()
    assert seeds == [1] * 8 + [2] * 4
    assert plan.chosen("STEMNet_toy", done).trial == {"learning_rate": 0.001}
    assert plan.chosen("SharedBottom_toy", done).trial == {"learning_rate": 0.01}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_every_experiment_gets_as_many_trials(project, tmp_path, sampler):
    space = {"learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True}}
    project.benchmark |= {"search": space, "sampler": sampler, "trials": 3}

    def make():
        data = dict.fromkeys(project.experiments, "data")
        return Plan(load(project), data, {}, journal=tmp_path / "search.journal")

    plan = make()
    assert plan.total() == 4 * (3 + 1)
    done = {}
    # One at a time, and killed after seven.
    while spec := next(plan.wanted(done, {}), None):
        rate = spec.trial["learning_rate"]
        valid = {"AUC": 0.8 - abs(rate - 0.02)}
        done[spec.key] = {"valid": valid, "evaluations": [{"valid": valid}]}
        plan.tell(spec, done[spec.key])
        if len(done) == 7:
            plan = make()
    assert len(done) == plan.total()
    for expid in project.experiments:
        rates = [spec.trial["learning_rate"] for spec in plan.trials(expid)]
        assert rates[0] == 0.01  # the experiment's own
        assert len(set(rates)) == 3
        best = plan.chosen(expid, done).trial["learning_rate"]
        assert best == min(rates, key=lambda rate: abs(rate - 0.02))


def test_a_failed_trial_counts_as_spent(project):
    plan = Plan(load(project), dict.fromkeys(project.experiments, "data"), {})
    first, second = plan.trials("STEMNet_toy")
    done, failed = {second.key: {"valid": {"AUC": 0.6}}}, {first.key: "diverged"}
    assert plan.chosen("STEMNet_toy", done).key == second.key
    assert plan.spec("STEMNet_toy", 2, second.trial) in list(plan.wanted(done, failed))


@pytest.mark.parametrize(
    "change", ["data", "version", "setting", "seed", "trial", "threads", "device"]
)
def test_a_run_has_another_key_when_anything_decisive_changes(project, change):
    data, versions = dict.fromkeys(project.experiments, "data"), {"torch": "1"}
    before = Plan(load(project), data, versions).spec("STEMNet_toy", 1, {"learning_rate": 0.1})
    seed, trial, device = 1, {"learning_rate": 0.1}, {}
    if change == "data":
        data = {**data, "STEMNet_toy": "other"}
    elif change == "version":
        versions = {"torch": "2"}
    elif change == "setting":
        project.experiments["STEMNet_toy"]["batch_size"] = 32
    elif change == "seed":
        seed = 2
    elif change == "trial":
        trial = {"learning_rate": 0.2}
    elif change == "device":
        device = {"device": "NVIDIA H100"}
    else:
        project.benchmark["threads"] = 2
    after = Plan(load(project), data, versions, **device).spec("STEMNet_toy", seed, trial)
    assert after.key != before.key


def test_other_experiments_do_not_change_a_runs_key(project):
    data = dict.fromkeys(project.experiments, "data")
    before = Plan(load(project), data, {}).spec("STEMNet_toy", 1, {})
    project.experiments["MMoE_toy"] = {**project.model, "model": "MMoE"}
    del project.experiments["MMoE_toy"]["num_shared_experts"]
    project.benchmark["seeds"] = [1, 2, 3]
    after = Plan(load(project), {**data, "MMoE_toy": "data"}, {}).spec("STEMNet_toy", 1, {})
    assert after.key == before.key


def test_a_mixed_monitor_is_weighed():
    valid = {"like_AUC": 0.8, "view_AUC": 0.6}
    assert monitored({"like_AUC": 0.25, "view_AUC": 0.75}, valid) == pytest.approx(0.65)
