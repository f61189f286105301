"""Do the labels fit the tasks that learn from them?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fuxictr_stem.errors import ConfigError, DataError, refuse, suggest
from fuxictr_stem.metrics import METRICS, TASKS, metric_names
from fuxictr_stem.metrics.tasks import BINARY


def check_labels(
    stats: Mapping[str, Mapping[str, Mapping[str, Any]]],
    tasks: Mapping[str, str],
    metrics: Collection[str] = (),
) -> None:
    """Refuse labels that a task cannot learn from or be measured on.

    Args:
        stats: Statistics of each split's labels (``Cache.label_stats``).
        tasks: The kind of task of each label that is trained.
        metrics: Names of the metrics, as for `metric_names`.

    Raises:
        ConfigError: A label is unknown, or a task is of another kind.
        DataError: A binary label has values other than 0 and 1, only one of them in train, or not those
            that a metric needs in valid or test; a regression label is not finite, missing in all rows
            of a split, or constant where a metric needs a variance.
    """
    known = {label for split in stats.values() for label in split}
    unknown = [
        f"label {label!r} is not in label_col.{suggest(label, known)}"
        for label in tasks
        if label not in known
    ]
    unknown += [
        f"label {label!r}: task must be one of {', '.join(TASKS)}, found {task!r}."
        for label, task in tasks.items()
        if task not in TASKS
    ]
    if unknown:
        refuse(ConfigError, "tasks", unknown)
    problems = []
    for label, task in tasks.items():
        names = metric_names(task, metrics)
        for split, labels in stats.items():
            find = _binary if task == BINARY else _regression
            problem = find(labels[label], split, names)
            if problem:
                problems.append(f"label {label!r} {problem}")
    if problems:
        refuse(DataError, "labels", problems)


def _binary(found: Mapping[str, Any], split: str, metrics: Collection[str]) -> str | None:
    if found["other"]:
        return (
            f"has {_rows(found['other'])} of {split} with a value other than 0 and 1, such as "
            f"{found['example']:g}; a binary_classification task needs 0 or 1. Turn it into 0/1, "
            "make the task regression, or declare the value as missing in label_col."
        )
    present = found["rows"] - found["nulls"]
    return one_class(found["positives"], present, split, metrics)


def one_class(
    positives: int, samples: int, split: str, metrics: Collection[str], where: str = ""
) -> str | None:
    """Return what is wrong with a task that lacks a class it needs; None if nothing is.

    Args:
        positives: Number of positives.
        samples: Number of samples, positives included.
        split: The split; both classes are needed to learn from train.
        metrics: The task's metrics, which say what valid and test need.
        where: Which rows of the split the samples are.
    """
    for label, count, kind in (
        (1, positives, "positive"),
        (0, samples - positives, "negative"),
    ):
        if count:
            continue
        lacks = f"has no {kind} among {_rows(samples)} of {split}{where}"
        if split == "train" or not samples:
            return (
                f"{lacks}: there is nothing to tell apart. Take other rows, or leave the label out."
            )
        needing = [name for name in metrics if label in METRICS[name].classes]
        if needing:
            others = [name for name in metrics if name not in needing] or ["logloss"]
            return (
                f"{lacks}, which {' and '.join(needing)} cannot do without. Take other rows, or "
                f"metrics that can, such as {' and '.join(others)}."
            )
    return None


def _regression(found: Mapping[str, Any], split: str, metrics: Collection[str]) -> str | None:
    if found["nonfinite"]:
        return f"is not finite in {_rows(found['nonfinite'])} of {split}; fix or drop the rows."
    if found["nulls"] == found["rows"]:
        return f"is missing in all {_rows(found['rows'])} of {split}: there is nothing to learn."
    return constant(found["min"], found["max"], split, metrics)


def constant(
    least: float, most: float, split: str, metrics: Collection[str], where: str = ""
) -> str | None:
    """Return what is wrong with a regression label that is one number in valid or test, or None."""
    needing = [name for name in metrics if METRICS[name].varies]
    if split == "train" or least != most or not needing:
        return None
    return (
        f"is {least:g} in all rows of {split}{where}, and {' and '.join(needing)} divides by its variance. "
        "Take other rows, or leave the metric out."
    )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
