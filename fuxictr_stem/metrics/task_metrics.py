"""Metrics by their names in configs, the tasks they apply to, and their means over tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError, choice_problems, raise_first
from fuxictr_stem.metrics import pointwise
from fuxictr_stem.metrics.ranking import auc, gauc, group_auc, mean_group_auc, pr_auc

BINARY, REGRESSION = TASKS = ("binary_classification", "regression")


class Metric(NamedTuple):
    """A metric as configs know it."""

    task: str
    higher_is_better: bool | None  # None if neither more nor less is, so that no monitor takes it
    function: Callable[..., float]  # of labels, predictions and, with a group weight, groups
    group_weight: str | None = None  # weight of a group in its mean
    classes: tuple[int, ...] = ()  # that a binary label must have to be measured
    varies: bool = False  # whether a regression label must have two values to be measured


_BOTH, _POSITIVES = (0, 1), (1,)

METRICS = {
    "logloss": Metric(BINARY, False, pointwise.logloss),
    "binary_crossentropy": Metric(BINARY, False, pointwise.logloss),  # FuxiCTR's other name of it
    "NE": Metric(BINARY, False, pointwise.normalized_entropy, classes=_BOTH),
    "calibration": Metric(BINARY, None, pointwise.calibration, classes=_POSITIVES),
    "calibration_error": Metric(BINARY, False, pointwise.calibration_error, classes=_POSITIVES),
    "AUC": Metric(BINARY, True, auc, classes=_BOTH),
    "prAUC": Metric(BINARY, True, pr_auc, classes=_POSITIVES),
    "gAUC": Metric(BINARY, True, gauc, group_weight="samples", classes=_BOTH),
    "avgAUC": Metric(BINARY, True, gauc, group_weight="equal", classes=_BOTH),
    "gAUC_positives": Metric(BINARY, True, gauc, group_weight="positives", classes=_BOTH),
    "MSE": Metric(REGRESSION, False, pointwise.mse),
    "MAE": Metric(REGRESSION, False, pointwise.mae),
    "R2": Metric(REGRESSION, True, pointwise.r2, varies=True),
}
FALLBACK = {BINARY: ("logloss", "AUC"), REGRESSION: ("MSE", "MAE")}


def metric_names(task: str, names: Iterable[str]) -> list[str]:
    """Return the metrics that a task reports: those of the names that apply to its type, in order.

    Where none applies, they are logloss and AUC of a binary task, MSE and MAE of a regression task.
    ConfigError if the task type is unknown.
    """
    raise_first(choice_problems("task", task, TASKS))
    applying = [name for name in names if name in METRICS and METRICS[name].task == task]
    return list(dict.fromkeys(applying)) or list(FALLBACK[task])


def evaluate_task(
    task: str,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    names: Iterable[str],
    group_id: ArrayLike | None = None,
) -> dict[str, float]:
    """Return the metrics of one task, by name, in the order of `metric_names`.

    Labels, predictions and group ids, which metrics within groups need, are (N,). DataError if a metric
    rejects them; ConfigError if the task type is unknown.
    """
    chosen = metric_names(task, names)
    grouped = [name for name in chosen if METRICS[name].group_weight is not None]
    if grouped and group_id is None:
        raise DataError(
            f"{', '.join(grouped)} need group_id, but there is none. Set group_id in the dataset "
            f"config to the column of the groups (the user id, as a rule)."
        )
    # One sort by group and score serves all weightings.
    per_group = group_auc(y_true, y_pred, group_id) if grouped and group_id is not None else None
    results = {}
    for name in chosen:
        weight = METRICS[name].group_weight
        if weight is not None and per_group is not None:
            results[name] = mean_group_auc(per_group, weight)
        else:
            results[name] = METRICS[name].function(y_true, y_pred)
    return results


def undefined(name: str, y_true: np.ndarray, group_id: np.ndarray | None = None) -> str:
    """Return what a metric lacks to have a value on a task's labels (there may be none), or "".

    Example:
        >>> undefined("AUC", np.array([1.0, 1.0])), undefined("logloss", np.array([1.0, 1.0]))
        ('no negative', '')
    """
    metric = METRICS[name]
    if not len(y_true):
        return "no sample"
    for label, kind in ((0, "negative"), (1, "positive")):
        if label in metric.classes and not (y_true == label).any():
            return f"no {kind}"
    if metric.varies and y_true.min() == y_true.max():
        return "one value only"
    if metric.group_weight is not None and group_id is not None:
        per_group = group_auc(y_true, y_true, group_id)
        return "no group with both classes" if np.isnan(per_group.auc).all() else ""
    return ""


def mean_over_tasks(results: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the tasks that have it, from each task's metrics."""
    values: dict[str, list[float]] = {}
    for metrics in results.values():
        for name, value in metrics.items():
            values.setdefault(name, []).append(value)
    return {name: sum(figures) / len(figures) for name, figures in values.items()}


def produced_metrics(tasks: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return every key that an evaluation produces, which a monitor may name.

    They are ``{label}_{metric}`` for each task (a type by label), then the names of the means.
    """
    wanted = list(names)
    per_task = {label: metric_names(task, wanted) for label, task in tasks.items()}
    by_task = [f"{label}_{name}" for label, metrics in per_task.items() for name in metrics]
    return by_task + list(dict.fromkeys(name for metrics in per_task.values() for name in metrics))
