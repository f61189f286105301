"""Does each task have samples to learn from and to be measured on, with weights and in groups?

A task's samples are the rows that have its label and, where it has a sample space, a 1 there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.check_labels import constant, one_class
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.errors import DataError, refuse
from fuxictr_stem.metrics.tasks import BINARY, metric_names

if TYPE_CHECKING:
    from fuxictr_stem.data.cache.open_cache import Cache

logger = logging.getLogger(__name__)


def check_samples(
    cache: Cache,
    tasks: Mapping[str, str],
    sample_spaces: Mapping[str, str] | None = None,
    sample_weight: str | None = None,
    metrics: Collection[str] = (),
) -> None:
    """Refuse sample spaces and weights that leave a task nothing to learn from or be measured on.

    Args:
        cache: The dataset; `check_labels` has found nothing against its labels.
        tasks: The kind of task of each label that is trained.
        sample_spaces: The label whose 1 makes a row a sample of a task, by the task's label.
        sample_weight: The column of the rows' weights, if there is one.
        metrics: As for `check_labels`.

    Raises:
        DataError: A sample space has values other than 0 and 1, or leaves a task no samples or not
            those that it needs in a split; a weight is missing or negative, or all those of a task's
            samples of train are 0.
    """
    spaces = dict(sample_spaces or {})
    problems = []
    for split in cache.rows:
        stats = cache.label_stats[split]
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
                f"sample_weight {sample_weight!r} is negative in {split}, where its least value is "
                f"{stats[sample_weight]['min']:g}. A weight is 0 or more."
            )
        with _reader(cache, split) as read:
            for label, space in spaces.items():
                problem = _space_problem(
                    _labels(read, label, space),
                    tasks[label],
                    split,
                    metric_names(tasks[label], metrics),
                    f" where {space!r} is 1",
                )
                if problem:
                    problems.append(f"label {label!r} {problem}")
            if sample_weight is not None and split == "train":
                weights = read(sample_weight)
                for label in tasks:
                    y = _labels(read, label, spaces.get(label))
                    if not weights[~np.isnan(y)].any():
                        problems.append(
                            f"sample_weight {sample_weight!r} is 0 in all rows of train that "
                            f"{label!r} learns from. Give some a weight, or leave the label out."
                        )
    if problems:
        refuse(DataError, "samples", problems)


def check_groups(
    cache: Cache,
    group_id: str,
    tasks: Mapping[str, str],
    sample_spaces: Mapping[str, str] | None = None,
) -> None:
    """Refuse groups in which no metric within groups can be measured; warn of rows in no group.

    Args:
        cache: The dataset.
        group_id: The column whose values are the groups.
        tasks: The kind of task of each label that is trained.
        sample_spaces: As for `check_samples`.

    Raises:
        DataError: In valid or test, no group has both classes of a binary label.
    """
    spaces = dict(sample_spaces or {})
    problems = []
    for split in ("valid", "test"):
        if split not in cache.rows:
            continue
        missing = cache.missing.get(split, {}).get(group_id, 0)
        if missing:
            logger.warning(
                "group_id: %s has no value in %s of %s rows of %s. Metrics within groups take these for "
                "one group, and a large one; drop them, or give each an id of its own.",
                group_id,
                f"{missing:,}",
                f"{cache.rows[split]:,}",
                split,
            )
        with _reader(cache, split) as read:
            group = read(group_id)
            order = np.argsort(group, kind="stable")
            starts = np.flatnonzero(np.append(True, np.diff(group[order]) != 0))
            for label, task in tasks.items():
                if task == BINARY:
                    y = _labels(read, label, spaces.get(label))[order]
                    # fmin and fmax pass over the rows that are no samples.
                    least = np.fmin.reduceat(y, starts)
                    if not (least < np.fmax.reduceat(y, starts)).any():
                        problems.append(
                            f"label {label!r} has one class only in each of the {len(starts):,} "
                            f"groups ({group_id}) of {split}: no gAUC can be measured. Choose "
                            f"another group_id, or leave the metrics within groups out."
                        )
    if problems:
        refuse(DataError, "metrics", problems)


@contextmanager
def _reader(cache: Cache, split: str) -> Iterator[Callable[[str], Array]]:
    """Hand out a function that reads a whole column of a split."""
    path = cache.path(split)
    assert path is not None
    with store.open_file(path) as file:
        yield lambda name: store.read(store.column(file, name), 0, cache.rows[split])


def _labels(read: Callable[[str], Array], label: str, space: str | None) -> Array:
    """Return a task's label as floats, NaN in the rows that are none of its samples."""
    y = read(label).astype(np.float32)
    if space is not None:
        y[read(space) != 1] = np.nan
    return y


def _space_problem(
    y: Array, task: str, split: str, metrics: Collection[str], where: str
) -> str | None:
    y = y[~np.isnan(y)]
    if task == BINARY:
        return one_class(int(np.count_nonzero(y == 1)), len(y), split, metrics, where)
    if not len(y):
        return f"is missing in all rows of {split}{where}: there is nothing to learn."
    return constant(float(y.min()), float(y.max()), split, metrics, where)
