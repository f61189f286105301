"""Metrics slice by slice, and the lift of one model over another with bootstrap intervals.

Symbols: N samples, S slices, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.analysis.slices import slice_numbers
from fuxictr_stem.errors import ConfigError, choice_problems, raise_first
from fuxictr_stem.metrics import METRICS, auc, gauc
from fuxictr_stem.metrics.bootstrap import bootstrap_metric, resample_counts
from fuxictr_stem.metrics.check_arrays import binary_labels, column, numbers, same_length
from fuxictr_stem.metrics.intervals import percentile_interval, seeds_and_users
from fuxictr_stem.metrics.task_metrics import undefined

RANKING = [
    name for name, metric in METRICS.items() if name == "AUC" or metric.group_weight is not None
]


@dataclass(frozen=True)
class SliceMetrics:
    """What a model reaches on each slice, S slices."""

    auc: np.ndarray  # (S,) AUC; NaN where a slice has one class only
    # (S,) gAUC weighted by samples; NaN where no group of the slice has both classes.
    gauc: np.ndarray
    rows: np.ndarray  # (S,) samples
    groups: np.ndarray  # (S,) groups
    positives: np.ndarray  # (S,) positive samples


@dataclass(frozen=True)
class SliceLift:
    """What a model gains over another on each slice, S slices."""

    metric: str  # the metric; the lift is the model's minus the reference's
    confidence: float  # coverage of the interval
    lift: np.ndarray  # (S,) mean over seeds; NaN where the slice has no such metric
    low: np.ndarray  # (S,) lower end of the interval
    high: np.ndarray  # (S,) its upper end
    groups: np.ndarray  # (S,) groups that were drawn from
    # Seeds that the interval is over, next to the groups; 1 where it is over groups only.
    seeds: int


def slice_metrics(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    group_id: ArrayLike,
    slice_of_sample: ArrayLike,
    num_slices: int | None = None,
) -> SliceMetrics:
    """Measure a model on each slice, whose numbers ``slice_of_sample`` holds; all arrays are (N,).

    Raises:
        DataError: If lengths differ, a label is not 0/1, a score is not finite, or a slice's number is
            out of range.

    Example:
        >>> slice_metrics([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.3], [1, 1, 2, 2], [0, 0, 1, 1]).auc
        array([1., 0.])
    """
    positive, score, group = binary_labels(y_true), numbers("y_pred", y_pred), _codes(group_id)
    slices, count = slice_numbers("slice_of_sample", slice_of_sample, num_slices)
    same_length(y_true=positive, y_pred=score, group_id=group, slice_of_sample=slices)
    columns: list[tuple[float, float, int, int, int]] = []
    for rows in _rows_of_slices(slices, count):
        y, p, g = positive[rows], score[rows], group[rows]
        overall = np.nan if undefined("AUC", y) else auc(y, p)
        within = np.nan if undefined("gAUC", y, g) else gauc(y, p, g)
        columns.append((overall, within, len(y), len(np.unique(g)), int(np.count_nonzero(y))))
    return SliceMetrics(*(np.array(values) for values in zip(*columns, strict=True)))


def slice_lift(
    y_true: ArrayLike,
    y_pred_model: np.ndarray | Sequence[np.ndarray],
    y_pred_reference: np.ndarray | Sequence[np.ndarray],
    group_id: ArrayLike,
    slice_of_sample: ArrayLike,
    metric: str = "AUC",
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    num_slices: int | None = None,
) -> SliceLift:
    """Return the lift of a model over a reference on each slice, with a bootstrap interval.

    Scores are (N,), or a list of those of several seeds. Within a slice, its groups are drawn with
    replacement, the same for both models and all seeds; a resample's lift is the model's mean over its
    seeds minus the reference's. With as many seeds of the reference as of the model, taken as pairs, the
    interval is that of `seeds_and_users`. Otherwise, and with one seed, it is the percentile interval
    over groups, which knows nothing of other trainings.

    Raises:
        ConfigError: If the metric is not one of `RANKING` or the confidence out of range.
        DataError: As `slice_metrics`.
    """
    raise_first(choice_problems("metric", metric, RANKING))
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, but is {confidence}.")
    positive, group = binary_labels(y_true), _codes(group_id)
    model, reference = _scores(y_pred_model), _scores(y_pred_reference)
    slices, count = slice_numbers("slice_of_sample", slice_of_sample, num_slices)
    for score in (*model, *reference):
        same_length(y_true=positive, y_pred=score, group_id=group, slice_of_sample=slices)
    paired = len(model) == len(reference) > 1
    lifts = []
    for rows in _rows_of_slices(slices, count):
        y, (ids, codes) = positive[rows], np.unique(group[rows], return_inverse=True)
        lift = (np.nan, np.nan, np.nan)
        if not undefined(metric, y, codes):
            # Counting every group once gives the lift itself.
            once = np.ones((1, len(ids)), np.int32)
            counts = np.concatenate([once, resample_counts(len(ids), resamples, seed)])
            ours, theirs = (
                np.stack(
                    [bootstrap_metric(metric, y, score[rows], codes, counts) for score in scores]
                )
                for scores in (model, reference)
            )
            means = ours.mean(axis=0) - theirs.mean(axis=0)
            interval = percentile_interval(means[1:], (1 - confidence) / 2)
            if paired:
                pairs = ours - theirs
                interval = (
                    seeds_and_users(pairs[:, 0], pairs[:, 1:], len(ids), confidence) or interval
                )
            lift = (means[0], *((interval.low, interval.high) if interval else (np.nan, np.nan)))
        lifts.append((*lift, len(ids)))
    mean, low, high, groups = (np.array(values) for values in zip(*lifts, strict=True))
    return SliceLift(metric, confidence, mean, low, high, groups, len(model) if paired else 1)


def _codes(group_id: ArrayLike) -> np.ndarray:
    return np.unique(column("group_id", group_id), return_inverse=True)[1]


def _scores(y_pred: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the scores of each seed."""
    seeds = [y_pred] if isinstance(y_pred, np.ndarray) else y_pred
    return [numbers("y_pred", score) for score in seeds]


def _rows_of_slices(slices: np.ndarray, count: int) -> list[np.ndarray]:
    return [np.flatnonzero(slices == number) for number in range(count)]
