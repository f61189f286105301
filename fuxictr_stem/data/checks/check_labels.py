"""Check that each task has labels, samples, weights and groups to learn from and be measured on.

A task's samples are the rows that have its label and, where it has a sample space, a 1 there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.metrics import METRICS, metric_names
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.runtime.text_table import amount

logger = logging.getLogger(__name__)


def check_labels(
    stats: Mapping[str, Mapping[str, Mapping[str, Any]]],
    tasks: Mapping[str, str],
    metrics: Collection[str] = (),
) -> None:
    """Reject labels that a task cannot learn from or be measured on.

    ``stats`` are those of each split's labels (``Cache.labels``), ``tasks`` the kind of task of each
    label that a checked experiment trains, ``metrics`` their names as for `metric_names`.

    Raises:
        DataError: A binary label has values other than 0 and 1, only one of them in train, or not those
            that a metric needs in valid or test; a regression label is not finite, missing in all rows
            of a split, or constant where a metric needs a variance.
    """
    problems = [
        f"label {label!r} {problem}"
        for label, task in tasks.items()
        for split in stats
        if (
            problem := _label_problem(stats[split][label], task, split, metric_names(task, metrics))
        )
    ]
    raise_all(DataError, "labels", problems)


def check_samples(
    cache: Cache,
    tasks: Mapping[str, str],
    sample_spaces: Mapping[str, str] | None = None,
    sample_weight: str | None = None,
    metrics: Collection[str] = (),
) -> None:
    """Reject sample spaces and weights that leave a task nothing to learn from or be measured on.

    `check_labels` has found nothing against the labels. ``sample_spaces`` are the labels whose 1 makes a
    row a sample of a task, by the task's label; ``sample_weight`` is the column of the rows' weights.

    Raises:
        DataError: A sample space has values other than 0 and 1, or leaves a task no samples or not
            those that it needs in a split; a weight is missing or negative, or all those of a task's
            samples of train are 0.
    """
    spaces = dict(sample_spaces or {})
    problems = []
    for split in cache.rows:
        stats = cache.labels[split]
        for space in dict.fromkeys(spaces.values()):
            if stats[space]["other"]:
                problems.append(
                    f"label {space!r} is a sample space, but has {stats[space]['other']:,} rows of "
                    f"{split} with a value other than 0 and 1, such as {stats[space]['example']:g}."
                )
        if sample_weight is not None and stats[sample_weight]["nulls"]:
            problems.append(
                f"sample_weight {sample_weight!r} is missing in {stats[sample_weight]['nulls']:,} rows "
                f"of {split}, but every sample needs its weight."
            )
        elif sample_weight is not None and stats[sample_weight]["min"] < 0:
            problems.append(
                f"sample_weight {sample_weight!r} is negative in {split}, where its lowest value "
                f"is {stats[sample_weight]['min']:g}. A weight is 0 or more."
            )
        for label, space in spaces.items():
            y = _samples(cache, split, label, space)
            y, needed = y[~np.isnan(y)], metric_names(tasks[label], metrics)
            counts = {"rows": len(y), "nulls": 0, "positives": int(np.count_nonzero(y == 1))}
            counts |= {"min": y.min(initial=np.inf), "max": y.max(initial=-np.inf)}
            where = f" where {space!r} is 1"
            if problem := _label_problem(counts, tasks[label], split, needed, where):
                problems.append(f"label {label!r} {problem}")
        if sample_weight is not None and split == "train":
            weights = cache.column(split, sample_weight)
            problems += [
                f"sample_weight {sample_weight!r} is 0 in all rows of train that {label!r} learns "
                "from. Give some a weight, or leave the label out."
                for label in tasks
                if not weights[~np.isnan(_samples(cache, split, label, spaces.get(label)))].any()
            ]
    raise_all(DataError, "samples", problems)


def check_groups(
    cache: Cache,
    group_id: str,
    tasks: Mapping[str, str],
    sample_spaces: Mapping[str, str] | None = None,
) -> None:
    """Reject groups in which no metric within groups can be measured; warn of rows in no group.

    ``group_id`` is the column whose values are the groups; the others are as for `check_samples`.

    Raises:
        DataError: In valid or test, no group has both classes of a binary label.
    """
    spaces = dict(sample_spaces or {})
    problems = []
    for split in (split for split in ("valid", "test") if split in cache.rows):
        missing = cache.missing.get(split, {}).get(group_id, 0)
        if missing:
            logger.warning(
                "group_id: %s has no value in %s of %s rows of %s. Metrics within groups treat "
                "these rows as one large group. Drop the rows, or give each an id.",
                *(group_id, f"{missing:,}", f"{cache.rows[split]:,}", split),
            )
        group = cache.column(split, group_id)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0))
        for label in (label for label, task in tasks.items() if task == BINARY):
            y = _samples(cache, split, label, spaces.get(label))[order]
            # fmin and fmax pass over the rows that are no samples.
            least = np.fmin.reduceat(y, starts)
            if not (least < np.fmax.reduceat(y, starts)).any():
                problems.append(
                    f"label {label!r} has only one class in each of the {len(starts):,} groups "
                    f"({group_id}) of {split}: gAUC cannot be measured. Choose another group_id, "
                    "or leave out the metrics within groups."
                )
    raise_all(DataError, "metrics", problems)


def _samples(cache: Cache, split: str, label: str, space: str | None) -> Array:
    """Return a task's label as floats, NaN in the rows that are none of its samples."""
    y = cache.column(split, label).astype(np.float32)
    if space is not None:
        y[cache.column(split, space) != 1] = np.nan
    return y


def _label_problem(
    stats: Mapping[str, Any], task: str, split: str, metrics: Collection[str], where: str = ""
) -> str | None:
    """Return what is wrong with a task's label by its statistics, or None."""
    if task == BINARY:
        if stats.get("other"):
            return (
                f"has {amount(stats['other'], 'row')} of {split} with a value other than 0 and 1, such as "
                f"{stats['example']:g}; a binary_classification task needs 0 or 1. Turn it into 0/1, "
                "make the task regression, or declare the value as missing in label_col."
            )
        return _one_class(stats["positives"], stats["rows"] - stats["nulls"], split, metrics, where)
    if stats.get("nonfinite"):
        return f"is not finite in {amount(stats['nonfinite'], 'row')} of {split}; fix or drop the rows."
    if stats["nulls"] == stats["rows"]:
        every = "all rows" if where else f"all {amount(stats['rows'], 'row')}"
        return f"is missing in {every} of {split}{where}: there is nothing to learn."
    needing = [name for name in metrics if METRICS[name].varies]
    if split == "train" or stats["min"] != stats["max"] or not needing:
        return None
    return (
        f"is {stats['min']:g} in all rows of {split}{where}, and {' and '.join(needing)} divides by its "
        "variance. Use other rows, or leave the metric out."
    )


def _one_class(
    positives: int, samples: int, split: str, metrics: Collection[str], where: str
) -> str | None:
    """Return what is wrong with a task that lacks a class which train or its metrics need, or None."""
    for label, count, kind in ((1, positives, "positive"), (0, samples - positives, "negative")):
        if count:
            continue
        lacks = f"has no {kind} among {amount(samples, 'row')} of {split}{where}"
        if split == "train" or not samples:
            return f"{lacks}: there is nothing to learn. Use other rows, or leave the label out."
        needing = [name for name in metrics if label in METRICS[name].classes]
        if needing:
            others = [name for name in metrics if name not in needing] or ["logloss"]
            return (
                f"{lacks}, without which {' and '.join(needing)} cannot be computed. Use other "
                f"rows, or other metrics, such as {' and '.join(others)}."
            )
    return None
