"""Metrics by their names, for the tasks they apply to, and their means over tasks."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.metrics import (
    METRICS,
    auc,
    evaluate_task,
    gauc,
    logloss,
    mae,
    mean_over_tasks,
    metric_names,
    mse,
    produced_metrics,
)

BINARY, REGRESSION = "binary_classification", "regression"


def test_metrics_apply_to_their_tasks():
    names = ["gAUC", "logloss", "MAE", "AUC", "AUC"]
    assert metric_names(BINARY, names) == ["gAUC", "logloss", "AUC"]
    assert metric_names(REGRESSION, names) == ["MAE"]
    assert metric_names(REGRESSION, ["AUC"]) == ["MSE", "MAE"]
    assert metric_names(BINARY, ["MSE"]) == ["logloss", "AUC"]
    assert metric_names(BINARY, ["like_AUC", "gAUC"]) == ["gAUC"]
    with pytest.raises(ConfigError, match="Did you mean 'binary_classification'"):
        metric_names("binary_clasification", names)


def test_evaluate_task_gives_each_metric_under_its_name():
    rng = np.random.default_rng(13)
    y, p, g = rng.integers(0, 2, 200), rng.random(200).round(1), rng.integers(0, 9, 200)
    binary = [name for name, metric in METRICS.items() if metric.task == BINARY]
    found = evaluate_task(BINARY, y, p, binary, g)
    assert list(found) == binary
    assert found["logloss"] == found["binary_crossentropy"] == logloss(y, p)
    assert found["AUC"] == auc(y, p)
    assert found["gAUC"] == gauc(y, p, g, "samples")
    assert found["avgAUC"] == gauc(y, p, g, "equal")
    assert found["gAUC_positives"] == gauc(y, p, g, "positives")
    assert evaluate_task(REGRESSION, y, p, ["AUC"]) == {"MSE": mse(y, p), "MAE": mae(y, p)}
    with pytest.raises(DataError, match="gAUC, avgAUC need group_id"):
        evaluate_task(BINARY, y, p, ["AUC", "gAUC", "avgAUC"])


def test_a_mean_is_over_the_tasks_that_have_the_metric():
    results = {"like": {"AUC": 0.5, "logloss": 1.0}, "finish": {"AUC": 0.7}, "time": {"MSE": 4.0}}
    assert mean_over_tasks(results) == pytest.approx({"AUC": 0.6, "logloss": 1.0, "MSE": 4.0})


def test_produced_metrics_are_what_evaluation_returns():
    tasks = {"like": BINARY, "time": REGRESSION, "finish": BINARY}
    rng = np.random.default_rng(17)
    y, p, g = rng.integers(0, 2, 50), rng.random(50), np.zeros(50, int)
    for names in (["AUC"], ["AUC", "MSE", "gAUC"], ["MAE", "AUC"]):
        results = {label: evaluate_task(task, y, p, names, g) for label, task in tasks.items()}
        keys = [f"{label}_{name}" for label, own in results.items() for name in own]
        assert produced_metrics(tasks, names) == keys + list(mean_over_tasks(results))
