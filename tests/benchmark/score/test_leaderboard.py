"""The leaderboard's numbers against numpy and scipy."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from fuxictr_stem.benchmark.score.leaderboard import build_leaderboard
from fuxictr_stem.benchmark.score.significance import UserBootstrap
from fuxictr_stem.tuning.verify_run import PREDICTIONS
from tests.support.finished_benchmarks import METRICS, make_benchmark

NEAR = {"rel": 0, "abs": 1e-12}


@pytest.fixture
def finished(five_models):
    return five_models


@pytest.fixture(scope="module")
def leaderboard(five_models):
    return build_leaderboard(five_models, resamples=50)


def _values(finished, name, label, metric):
    return [finished.models[name][seed].metric(label, metric) for seed in finished.seeds]


def test_means_deviations_and_differences(finished, leaderboard):
    for name in finished.models:
        for label in finished.labels:
            for metric in METRICS:
                score = leaderboard.scores.get((name, label, metric))
                if (name, label) == ("ESMM", "like"):
                    assert score is None
                    continue
                own = _values(finished, name, label, metric)
                assert score.mean == pytest.approx(np.mean(own), **NEAR)
                assert score.sd == pytest.approx(np.std(own, ddof=1), **NEAR)
                for found, reference in (
                    (score.single_task, "SingleTask"),
                    (score.baseline, "PLE"),
                ):
                    if name == reference:
                        assert found is None
                        continue
                    other = _values(finished, reference, label, metric)
                    assert found.reference == reference
                    expected = np.mean(own) - np.mean(other)
                    assert found.difference == pytest.approx(expected, **NEAR)
                    if reference == "SingleTask" or name == "STEMNet":
                        assert found.p == pytest.approx(ttest_rel(own, other).pvalue, rel=1e-9)
                    else:
                        assert found.p is None
                    better = expected < 0 if metric == "logloss" else expected > 0
                    assert found.is_better(metric) == better


def test_intervals_are_those_of_the_bootstrap(finished, leaderboard):
    bootstrap = UserBootstrap(finished, resamples=50)
    found = leaderboard.scores["STEMNet", "like", "gAUC"].baseline.interval
    differences = {
        seed: finished.models["STEMNet"][seed].metric("like", "gAUC")
        - finished.models["PLE"][seed].metric("like", "gAUC")
        for seed in finished.seeds
    }
    over_users, both = bootstrap.intervals(("STEMNet", "PLE"), "like", "gAUC", differences)
    assert found == over_users
    assert leaderboard.scores["STEMNet", "like", "gAUC"].baseline.seeds_and_users == both
    assert (both.low + both.high) / 2 == pytest.approx(np.mean(list(differences.values())))
    assert (
        found.low < leaderboard.scores["STEMNet", "like", "gAUC"].baseline.difference < found.high
    )


def test_the_best_baseline_has_all_tasks_and_is_no_proposed_model(finished, leaderboard):
    # ESMM has the better AUC on its one task, STEMNet on both.
    assert leaderboard.best_baseline == "PLE"
    assert (
        leaderboard.scores["ESMM", "click", "AUC"].mean
        > leaderboard.scores["PLE", "click", "AUC"].mean
    )
    by_loss = dataclasses.replace(finished, metrics=["logloss", "AUC"])
    assert build_leaderboard(by_loss, resamples=2).best_baseline == "PLE"
    only = {name: finished.models[name] for name in ("SingleTask", "STEMNet")}
    without = build_leaderboard(dataclasses.replace(finished, models=only), resamples=2)
    assert without.best_baseline is None
    assert all(score.baseline is None for score in without.scores.values())


def test_costs_of_several_runs_are_sums_and_memory_is_the_largest(finished, leaderboard):
    runs = finished.models["SingleTask"][1].runs
    cost = leaderboard.costs["SingleTask"]
    assert len(runs) == cost.runs == 2
    assert cost.dense == sum(run.result["params"]["dense"] for run in runs)
    assert cost.embedding == sum(run.result["params"]["embedding"] for run in runs)
    seconds = [
        sum(run.result["seconds"]["train"] / run.result["epochs"] for run in trained.runs)
        for trained in finished.models["SingleTask"].values()
    ]
    assert max(seconds) > min(seconds)
    assert cost.seconds_per_epoch == pytest.approx(min(seconds))
    assert cost.samples_per_second == pytest.approx(runs[0].result["samples_per_second"] / 2)
    assert cost.peak_mib == runs[0].result["peak_rss_bytes"] / 2**20


def test_a_seed_that_a_model_lacks_is_left_out_of_its_comparisons(finished):
    models = {
        **finished.models,
        "MMoE": {s: e for s, e in finished.models["MMoE"].items() if s != 2},
    }
    found = build_leaderboard(dataclasses.replace(finished, models=models), resamples=10)
    score = found.scores["MMoE", "click", "AUC"]
    pairs = [(e.metric("click", "AUC"), s) for s, e in models["MMoE"].items()]
    single = finished.values("SingleTask", "click", "AUC")
    assert score.single_task.seeds == 2
    expected = np.mean([value - single[seed] for value, seed in pairs])
    assert score.single_task.difference == pytest.approx(expected, **NEAR)


def test_models_tested_on_other_samples_are_not_compared(tmp_path):
    finished = make_benchmark(tmp_path, {"SingleTask": 1.0, "MMoE": 1.0, "PLE": 1.1})
    file = finished.models["MMoE"][3].run_of("like").folder / PREDICTIONS
    pl.read_parquet(file).reverse().write_parquet(file)
    found = build_leaderboard(finished, resamples=10)
    assert found.scores["MMoE", "like", "AUC"].single_task is None
    assert found.scores["PLE", "like", "AUC"].single_task is not None
    assert any("MMoE and SingleTask are not compared on like" in note for note in found.notes)
