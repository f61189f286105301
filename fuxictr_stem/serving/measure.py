"""Metrics of each task on its samples, of all rows and of those with each value of a column."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.metrics import evaluate_task, mean_over_tasks, metric_names
from fuxictr_stem.metrics.bootstrap import bootstrap_metric, resample_counts
from fuxictr_stem.metrics.intervals import percentile_interval
from fuxictr_stem.metrics.tasks import BINARY, undefined
from fuxictr_stem.runtime.progress import track
from fuxictr_stem.serving.evaluation_result import LEVEL, Evaluation, Figure, Slice

MOST_VALUES = 20
"""The most values of a column whose rows are measured by themselves."""

_RESAMPLES = 200
_FEWEST_RESAMPLES = 50
_MOST_COUNTS = 1 << 26
_MOST_PARTS = 10_000


class Samples(NamedTuple):
    """Rows with labels and scores."""

    y_true: dict[str, np.ndarray]  # by label, (N,); NaN in rows that are no sample of its task
    y_pred: dict[str, np.ndarray]  # by label, (N,)
    group_id: np.ndarray | None  # (N,) numbers of the groups, or None

    def of(self, label: str, rows: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Return labels, scores and groups (if any) of a task's samples, of all or some rows."""
        columns = [self.y_true[label], self.y_pred[label]]
        columns += [] if self.group_id is None else [self.group_id]
        columns = columns if rows is None else [column[rows] for column in columns]
        present = ~np.isnan(columns[0])
        return tuple(columns) if present.all() else tuple(column[present] for column in columns)


def check_labels(tasks: Mapping[str, str], samples: Samples) -> None:
    """Reject labels that no metric of their task takes.

    Raises:
        DataError: A binary label has values other than 0 and 1.
    """
    problems = []
    for label, task in tasks.items():
        y = samples.of(label)[0]
        wrong = y[(y != 0) & (y != 1)] if task == BINARY else y[:0]
        if len(wrong):
            problems.append(
                f"label {label!r} has {len(wrong):,} rows with a value other than 0 and 1, such as "
                f"{wrong[0]:g}; its task is {task}."
            )
    raise_all(DataError, "labels", problems)


def measure(
    tasks: Mapping[str, str],
    samples: Samples,
    names: Sequence[str],
    by: pl.Series | None = None,
) -> Evaluation:
    """Measure each task on its samples, and on those with each value of a column.

    Args:
        tasks: Task type by label.
        samples: The rows.
        names: Names of metrics; each task has those that are for its type.
        by: (N,) the column's values.
    """
    check_labels(tasks, samples)
    rows = len(next(iter(samples.y_true.values())))
    present = {label: len(samples.of(label)[0]) for label in tasks}
    resampled = "rows" if samples.group_id is None else "groups"
    evaluation = Evaluation(rows, present, resampled)
    per_task: dict[str, dict[str, float]] = {}
    for label, task in tasks.items():
        figures = _measure(task, samples.of(label), names)
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
        slices = _slices(tasks, samples, names, by, shown)
        evaluation.slices = list(slices)
    return evaluation


def _slices(
    tasks: Mapping[str, str],
    samples: Samples,
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
            for name, figure in _measure(task, samples.of(label, rows), names, True).items()
        }
        yield Slice(value[0], len(rows), figures)


def _measure(
    task: str, columns: tuple[np.ndarray, ...], names: Sequence[str], interval: bool = False
) -> dict[str, Figure]:
    """Return a task's metrics on samples: labels, scores, and groups if there are some."""
    y_true, y_pred = columns[:2]
    group_id = columns[2] if len(columns) > 2 else None
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
