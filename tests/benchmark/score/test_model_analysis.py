"""The slices of a benchmark: what is measured, and what is left out."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.analysis.slices import positive_balance
from fuxictr_stem.benchmark.score.model_analysis import SliceRows, interval_of, measure_slices
from fuxictr_stem.metrics import auc
from fuxictr_stem.tuning.verify_run import PREDICTIONS
from tests.support.finished_benchmarks import make_benchmark

BINARY, REGRESSION = "binary_classification", "regression"


@pytest.fixture
def finished(tmp_path):
    return make_benchmark(tmp_path, {"SingleTask": 2.0, "MMoE": 1.0, "PLE": 1.0}, seeds=(1, 2))


@pytest.fixture
def balance(finished):
    click, like = (finished.models["MMoE"][1].predictions(label) for label in ("click", "like"))
    labels = {"click": click.y_true, "like": like.y_true}
    return positive_balance(click.group_id, labels, quantiles=(0.3, 0.7))


def measured(finished, balance, like=BINARY):
    """Return the slices of a benchmark whose train has the users of test."""
    experiment = {"task_labels": ["click", "like"], "task": [BINARY, like], "group_id": "user"}
    benchmark = SimpleNamespace(experiments={"MMoE": experiment}, resamples=20)
    group = finished.models["MMoE"][1].predictions("click").group_id
    return measure_slices(
        benchmark, finished, SliceRows(balance, "By user.", balance.assign(group))
    )


def relabel(finished, name, change):
    """Change the likes in a model's predictions of all seeds."""
    for trained in finished.models[name].values():
        path = trained.run_of("like").folder / PREDICTIONS
        frame = pl.read_parquet(path)
        likes = pl.Series("like", change(frame["like"].to_numpy().copy()))
        frame.with_columns(likes).write_parquet(path)


def without(*rows):
    def leave_out(likes):
        likes[slice(*rows)] = np.nan
        return likes

    return leave_out


def test_a_lift_is_the_mean_difference_over_seeds(finished, balance):
    found = measured(finished, balance)
    for number in range(3):
        differences = []
        for seed in finished.seeds:
            ours, theirs = (
                finished.models[name][seed].predictions("like") for name in ("MMoE", "SingleTask")
            )
            own = balance.assign(ours.group_id) == number
            values = [auc(p.y_true[own], p.y_pred[own]) for p in (ours, theirs)]
            differences.append(values[0] - values[1])
        lift = found.lifts["MMoE"]["like"][0]
        assert (lift.metric, lift.lift[number]) == ("AUC", pytest.approx(np.mean(differences)))


def test_models_that_were_tested_on_other_samples_have_no_lift(finished, balance):
    """As many samples, but others: row by row they would give a wrong number."""
    relabel(finished, "SingleTask", without(0, 40))
    relabel(finished, "MMoE", without(40, 80))
    relabel(finished, "PLE", without(0, 40))
    found = measured(finished, balance)
    assert set(found.lifts["MMoE"]) == {"click"}
    assert set(found.lifts["PLE"]) == {"click", "like"}
    assert set(found.metrics["MMoE"]) == {"click", "like"}


def test_a_regression_task_has_no_slices(finished, balance):
    for name in finished.names:
        relabel(finished, name, lambda likes: likes + 0.5)
    found = measured(finished, balance, like=REGRESSION)
    assert set(found.metrics["MMoE"]) == set(found.lifts["MMoE"]) == {"click"}


def test_an_interval_says_what_it_is_over(finished, balance):
    lift = measured(finished, balance).lifts["MMoE"]["like"][0]
    assert interval_of(lift) == "95% interval over 2 seeds and the slice's test users"
    # Two seeds against one are no pairs, and the mean is not over one seed.
    del finished.models["SingleTask"][2]
    lift = measured(finished, balance).lifts["MMoE"]["like"][0]
    assert interval_of(lift) == "95% interval over the slice's test users only"
