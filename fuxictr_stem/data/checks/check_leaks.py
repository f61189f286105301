"""Warn of a feature that alone predicts a label: usually a copy of it, or known only afterwards.

Measured on a sample of train, so that it costs a second at most on any data. A number is measured by its
own order, in either direction. The ids of a categorical feature are ordered by the mean label that they
have in one half of the sample and measured on the other half, where an id that is new has the mean of
all: an id that occurs once says nothing there. A copy of a label is found by itself, even where its
positives are too few for a measure. Sequences and vectors are skipped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.metrics import auc
from fuxictr_stem.metrics.task_metrics import BINARY

logger = logging.getLogger(__name__)

LIMIT = 0.999
_CHUNKS = 8
# Fewer rows of a class (or next to a regression label's commonest value) may be in order by chance.
_LEAST = 10
# Of so many ways to choose its ones, a feature is not a label's copy by chance.
_LEAST_WAYS = 10_000


class Leak(NamedTuple):
    """A feature that predicts a label."""

    label: str
    feature: str
    measure: str  # ``AUC``, or ``rank correlation`` for a regression label
    value: float  # its value, above `LIMIT`, whichever the direction
    rows: int  # rows that it was measured on


def warn_of_leaks(cache: Cache, params: Mapping[str, Any]) -> list[Leak]:
    """Warn of each feature that alone predicts a label of a checked experiment; return them."""
    features = {
        name: spec["type"]
        for name, spec in cache.feature_map(params).features.items()
        if spec["type"] in ("numeric", "categorical")
    }
    leaks = find_leaks(cache, features, task_types(params), params["sample_spaces"])
    for leak in leaks:
        logger.warning(
            "Label leak? The feature %r alone predicts the label %r: %s %.5f on %s rows of a sample of "
            "train (above %g). If it is not known before the label, set active: False for its column "
            "or leave it out of use_features.",
            *(leak.feature, leak.label, leak.measure, leak.value, f"{leak.rows:,}", LIMIT),
        )
    return leaks


def find_leaks(
    cache: Cache,
    features: Mapping[str, str],
    tasks: Mapping[str, str],
    sample_spaces: Mapping[str, str] | None = None,
) -> list[Leak]:
    """Find features with an AUC (or a rank correlation) above .999 in up to 131,072 rows of train.

    ``features`` are by name ``numeric`` or ``categorical``; the others are as for `check_samples`. The
    leaks are in the order of the features; a label of which the sample has too few rows has none.
    """
    spaces = dict(sample_spaces or {})
    path = cache.path("train")
    starts = _starts(cache.rows["train"])
    labels = _read(path, [*tasks, *dict.fromkeys(spaces.values())], starts)
    rows = len(next(iter(labels.values())))
    # Drawn, since a file may alternate positives and negatives.
    half = np.random.default_rng(0).permutation(rows) < rows // 2
    targets = {}
    for label in tasks:
        targets[label] = labels[label].astype(np.float64)
        if label in spaces:
            targets[label][labels[spaces[label]] != 1] = np.nan
    leaks = []
    for feature, kind in features.items():
        values = _read(path, [feature], starts)[feature]
        if kind == "categorical":
            values = np.unique(values, return_inverse=True)[1]
        for label, task in tasks.items():
            y = targets[label]
            measured = ~np.isnan(y)
            score: Array = values
            copied = _is_copy(y[measured], values[measured])
            if kind == "categorical" and not copied:
                score = _mean_labels(values, y, half & measured)
                measured = measured & ~half
            value = 1.0 if copied else _order(task, y[measured], score[measured])
            if value > LIMIT:
                measure = "AUC" if task == BINARY else "rank correlation"
                leaks.append(Leak(label, feature, measure, value, int(measured.sum())))
    return leaks


def _starts(rows: int) -> Sequence[int]:
    """Return the first rows of evenly spread chunks of a split, or of all if they are few."""
    chunks = -(-rows // store.CHUNK_ROWS)
    places = np.linspace(0, chunks - 1, min(chunks, _CHUNKS)).astype(int)
    return [int(place) * store.CHUNK_ROWS for place in places]


def _read(path: Path, names: Sequence[str], starts: Sequence[int]) -> dict[str, Array]:
    """Read some chunks of some columns."""
    columns = {}
    with store.open_file(path) as file:
        for name in names:
            data = store.column(file, name)
            parts = [store.read(data, start, start + store.CHUNK_ROWS) for start in starts]
            columns[name] = np.concatenate(parts)
    return columns


def _mean_labels(codes: Array, y: Array, fitted: Array) -> Array:
    """Return by row the mean label of its id in the fitted rows; the mean of all where it has none."""
    size = int(codes.max()) + 1
    counts = np.bincount(codes[fitted], minlength=size)
    sums = np.bincount(codes[fitted], weights=y[fitted], minlength=size)
    mean = sums.sum() / max(counts.sum(), 1)
    return np.divide(sums, counts, out=np.full(size, mean), where=counts > 0)[codes]


def _is_copy(y: Array, values: Array) -> bool:
    """Say whether feature and label have two values each, and one predicts the other."""
    ones = y == y.max(initial=0)
    count = int(ones.sum())
    if math.comb(len(y), min(count, len(y) - count, _LEAST)) < _LEAST_WAYS:
        return False
    of_ones, others, below = values[ones], values[~ones], y[~ones]
    same = all((column == column[0]).all() for column in (of_ones, others, below))
    return bool(same and of_ones[0] != others[0])


def _order(task: str, y: Array, score: Array) -> float:
    """Return how well a score orders a label, in the better direction; 0 where rows are too few."""
    counts = np.unique(y, return_counts=True)[1]
    if len(y) - counts.max(initial=0) < _LEAST or (score == score[0]).all():
        return 0.0
    if task == BINARY:
        value = auc(y, score)
        return max(value, 1 - value)
    ranks = np.stack([pl.Series(column).rank().to_numpy() for column in (y, score)])
    return abs(float(np.corrcoef(ranks)[0, 1]))
