"""Do the labels fit the tasks that learn from them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr_stem.data.report import refuse
from fuxictr_stem.errors import ConfigError, DataError, suggest
from fuxictr_stem.metrics import TASKS


def check_labels(
    stats: Mapping[str, Mapping[str, Mapping[str, Any]]], tasks: Mapping[str, str]
) -> None:
    """Refuse labels that a task cannot learn from or be measured on.

    Args:
        stats: Statistics of each split's labels (``Cache.label_stats``).
        tasks: The kind of task of each label that is trained.

    Raises:
        ConfigError: A label is unknown, or a task is of another kind.
        DataError: A binary label has values other than 0 and 1, or only one of them in a split; a
            regression label is not finite, or missing in all rows of a split.
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
        for split, labels in stats.items():
            find = _binary if task == "binary_classification" else _regression
            problem = find(labels[label], split)
            if problem:
                problems.append(f"label {label!r} {problem}")
    if problems:
        refuse(DataError, "labels", problems)


def _binary(found: Mapping[str, Any], split: str) -> str | None:
    if found["other"]:
        return (
            f"has {_rows(found['other'])} of {split} with a value other than 0 and 1, such as "
            f"{found['example']:g}; a binary_classification task needs 0 or 1. Turn it into 0/1, "
            "make the task regression, or declare the value as missing in label_col."
        )
    present = found["rows"] - found["nulls"]
    return one_class(found["positives"], present, f"of {split}")


def one_class(positives: int, samples: int, where: str) -> str | None:
    """Return what is wrong with a task that has no positive or no negative; None if it has both.

    Args:
        positives: Number of positives.
        samples: Number of samples, positives included.
        where: Where they are, to follow "12 rows".
    """
    for count, kind in ((positives, "positive"), (samples - positives, "negative")):
        if not count:
            return (
                f"has no {kind} among {_rows(samples)} {where}: there is nothing to tell apart, and "
                "no AUC. Take another split, or leave the label out."
            )
    return None


def _regression(found: Mapping[str, Any], split: str) -> str | None:
    if found["nonfinite"]:
        return f"is not finite in {_rows(found['nonfinite'])} of {split}; mend or drop the rows."
    if found["nulls"] == found["rows"]:
        return f"is missing in all {_rows(found['rows'])} of {split}: there is nothing to learn."
    return None


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
