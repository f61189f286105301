"""Metrics: pure functions on arrays, without a Python loop over rows or groups.

`check_arrays` checks arguments; `ranking` and `pointwise` hold the metrics; `task_metrics` finds them by
name in configs and averages over tasks; `bootstrap` and `intervals` say how far they could be chance.
"""

from fuxictr_stem.metrics.pointwise import (
    calibration,
    calibration_error,
    logloss,
    mae,
    mse,
    normalized_entropy,
    r2,
)
from fuxictr_stem.metrics.ranking import GROUP_WEIGHTS, GroupAUC, auc, gauc, group_auc, pr_auc
from fuxictr_stem.metrics.task_metrics import (
    METRICS,
    TASKS,
    Metric,
    evaluate_task,
    mean_over_tasks,
    metric_names,
    produced_metrics,
)

__all__ = [
    "GROUP_WEIGHTS",
    "METRICS",
    "TASKS",
    "GroupAUC",
    "Metric",
    "auc",
    "calibration",
    "calibration_error",
    "evaluate_task",
    "gauc",
    "group_auc",
    "logloss",
    "mae",
    "mean_over_tasks",
    "metric_names",
    "mse",
    "normalized_entropy",
    "pr_auc",
    "produced_metrics",
    "r2",
]
