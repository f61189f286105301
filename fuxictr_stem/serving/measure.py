"""Metrics of each task on its samples, of all rows and of those with each value of a column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.metrics import evaluate_task, mean_over_tasks, metric_names
from fuxictr_stem.metrics.bootstrap import bootstrap_metric, resample_counts
from fuxictr_stem.metrics.intervals import percentile_interval
from fuxictr_stem.metrics.task_metrics import BINARY, undefined
from fuxictr_stem.runtime.progress import track
from fuxictr_stem.serving.evaluation_result import LEVEL, Evaluation, Figure, Slice
from fuxictr_stem.training.evaluation import Predictions, Samples

MOST_VALUES = 20
"""The most values of a column whose rows are measured by themselves."""

_RESAMPLES = 200
_FEWEST_RESAMPLES = 50
_MOST_COUNTS = 1 << 26
_MOST_PARTS = 10_000


def check_labels(tasks: Mapping[str, str], scored: Predictions) -> None:
    """Reject binary labels with values other than 0 and 1 in a DataError."""
    problems = []
    for label, task in tasks.items():
        y = scored.of(label)[0]
        wrong = y[(y != 0) & (y != 1)] if task == BINARY else y[:0]
        if len(wrong):
            problems.append(
                f"label {label!r} has {len(wrong):,} rows with a value other than 0 and 1, such as "
                f"{wrong[0]:g}; its task is {task}."
            )
    raise_all(DataError, "labels", problems)


def measure(
    tasks: Mapping[str, str],
    scored: Predictions,
    names: Sequence[str],
    by: pl.Series | None = None,
) -> Evaluation:
    """Measure each task on its samples, and on those with each value of a column, ``by``.

    ``names`` are metrics, of which each task has those that are for its type.
    """
    check_labels(tasks, scored)
    rows = len(next(iter(scored.y_true.values())))
    present = {label: len(scored.of(label)[0]) for label in tasks}
    resampled = "rows" if scored.group_id is None else "groups"
    evaluation = Evaluation(rows, present, resampled)
    per_task: dict[str, dict[str, float]] = {}
    for label, task in tasks.items():
        figures = _measure(task, scored.of(label), names)
        per_task[label] = {name: figure.value for name, figure in figures.items()}
        for name, figure in figures.items():
            evaluation[f"{label}_{name}"] = figure.value
            if figure.undefined:
                evaluation.undefined[f"{label}_{name}"] = figure.undefined
    evaluation.update(mean_over_tasks(per_task))
    if by is not None:
        evaluation.by, by = by.name, by.alias("value")
        counts = by.value_counts(name="rows")
        # Ties in the order of the values, missing ones last.
        counts = counts.sort("rows", "value", descending=[True, False], nulls_last=True)
        more = counts["rows"][MOST_VALUES:]
        evaluation.others = len(more), int(more.sum())
        shown = counts["value"][:MOST_VALUES]
        evaluation.slices = list(_slices(tasks, scored, names, by, shown))
    return evaluation


def _slices(
    tasks: Mapping[str, str],
    scored: Predictions,
    names: Sequence[str],
    by: pl.Series,
    values: pl.Series,
) -> Iterator[Slice]:
    single = [values[place : place + 1] for place in range(len(values))]
    for value in track(single, "Measure slices", len(single), unit="values"):
        rows = by.eq_missing(value).to_numpy().nonzero()[0]
        figures = {
            f"{label}_{name}": figure
            for label, task in tasks.items()
            for name, figure in _measure(task, scored.of(label, rows), names, True).items()
        }
        yield Slice(value[0], len(rows), figures)


def _measure(
    task: str, samples: Samples, names: Sequence[str], interval: bool = False
) -> dict[str, Figure]:
    """Return a task's metrics on its samples."""
    y_true, y_pred, group_id = samples
    chosen = metric_names(task, names)
    lacking = {name: undefined(name, y_true, group_id) for name in chosen}
    measurable = [name for name in chosen if not lacking[name]]
    values = evaluate_task(task, y_true, y_pred, measurable, group_id) if measurable else {}
    intervals = _intervals(measurable, y_true, y_pred, group_id) if interval and measurable else {}
    return {
        name: Figure(math.nan, undefined=lacking[name])
        if lacking[name]
        else Figure(values[name], *intervals.get(name, ()))
        for name in chosen
    }


def _intervals(
    names: Sequence[str], y_true: np.ndarray, y_pred: np.ndarray, group_id: np.ndarray | None
) -> dict[str, tuple[float, float]]:
    """Return each metric's interval over other groups, or over other rows where there are none.

    Rows without groups are drawn in parts of some rows each, put together at random, which gives the same
    variance and keeps the counts small.
    """
    if group_id is None:
        parts = np.arange(len(y_true)) % _MOST_PARTS
        group = np.random.default_rng(0).permutation(parts)
        groups = min(len(y_true), _MOST_PARTS)
    else:
        ids, group = np.unique(group_id, return_inverse=True)
        groups = len(ids)
    if groups < 2:
        return {}
    resamples = min(max(_MOST_COUNTS // groups, _FEWEST_RESAMPLES), _RESAMPLES)
    counts = resample_counts(groups, resamples, seed=0)
    intervals = {}
    for name in names:
        values = bootstrap_metric(name, y_true, y_pred, group, counts)
        interval = percentile_interval(values, (1 - LEVEL) / 2)
        if interval is not None:
            intervals[name] = interval.low, interval.high
    return intervals
