"""Do the labels fit the tasks that learn from them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fuxictr_stem.data import store
from fuxictr_stem.data.report import refuse
from fuxictr_stem.errors import ConfigError, DataError, suggest
from fuxictr_stem.metrics import TASKS

if TYPE_CHECKING:
    from fuxictr_stem.data.cache import Cache


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
            regression label is not finite.
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


def check_groups(cache: Cache, group_id: str, tasks: Mapping[str, str]) -> None:
    """Refuse groups in which no metric within groups can be measured.

    Args:
        cache: The dataset.
        group_id: The column whose values are the groups.
        tasks: The kind of task of each label that is trained.

    Raises:
        DataError: In valid or test, no group has both classes of a binary label.
    """
    problems = []
    for split in ("valid", "test"):
        path = cache.path(split)
        if path is None:
            continue
        with store.open_file(path) as file:
            rows = cache.rows[split]
            group = store.read(store.column(file, group_id), 0, rows)
            order = np.argsort(group, kind="stable")
            starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0))
            for label, task in tasks.items():
                if task == "binary_classification":
                    y = store.read(store.column(file, label), 0, rows)[order]
                    least = np.minimum.reduceat(y, starts)
                    if (least == np.maximum.reduceat(y, starts)).all():
                        problems.append(
                            f"label {label!r} has one class only in each of the {len(starts):,} "
                            f"groups ({group_id}) of {split}: no gAUC can be measured. Choose "
                            f"another group_id, or leave the metrics within groups out."
                        )
    if problems:
        refuse(DataError, "metrics", problems)


def _binary(found: Mapping[str, Any], split: str) -> str | None:
    if found["other"]:
        return (
            f"has {_rows(found['other'])} of {split} with a value other than 0 and 1, such as "
            f"{found['example']:g}; a binary_classification task needs 0 or 1. Turn it into 0/1, "
            "or make the task regression."
        )
    for count, missing in ((found["positives"], "positive"), (found["rows"], "negative")):
        present = count if missing == "positive" else count - found["positives"]
        if not present:
            return (
                f"has no {missing} among {_rows(found['rows'])} of {split}: there is nothing to "
                "tell apart, and no AUC. Take another split, or leave the label out."
            )
    return None


def _regression(found: Mapping[str, Any], split: str) -> str | None:
    bad = found["nonfinite"] + found["nulls"]
    if bad:
        return f"is missing or not finite in {_rows(bad)} of {split}; mend or drop the rows."
    return None


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
