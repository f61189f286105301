"""AUC, prAUC and gAUC of many resamples of the groups (users), exact: a resample is a row of counts.

Samples of one group depend on each other, so whole groups are drawn with replacement (the cluster
bootstrap; Field and Welsh, JRSS B 2007). A group drawn c times counts c times, and nothing is copied:
scores are sorted once, and a resample costs one cumulative sum over the sorted rows.

Two models that are measured with the same counts are paired: the differences of their results are the
resamples of the difference.

Symbols: N rows, G groups, R resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics.check_arrays import binary_labels, column, numbers, same_length
from fuxictr_stem.metrics.pointwise import cross_entropies
from fuxictr_stem.metrics.ranking import group_auc, mean_group_auc
from fuxictr_stem.metrics.task_metrics import METRICS

RATIOS = ("NE", "calibration", "calibration_error", "R2")
"""The metrics that are no mean over samples, groups or pairs."""


def resample_counts(num_groups: int, resamples: int, seed: int) -> np.ndarray:
    """Draw the groups with replacement, as many as there are, once per resample.

    Returns (R, G) int32: how often each resample holds each group. More resamples with the same seed begin
    with the same rows. Raises DataError if there is no group or no resample.
    """
    for name, count in (("num_groups", num_groups), ("resamples", resamples)):
        if count < 1:
            raise DataError(f"{name} must be at least 1, but is {count}.")
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, num_groups), np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(num_groups, size=num_groups), minlength=num_groups)
    return counts


def bootstrap_auc(
    y_true: ArrayLike, y_pred: ArrayLike, group_id: ArrayLike, counts: np.ndarray
) -> np.ndarray:
    """Return the AUC of each resample, (R,) float64, ties averaged: `auc` of the rows that it holds.

    Labels, scores and the groups' numbers, 0 to G-1, are (N,); counts (R, G) as of `resample_counts`. NaN
    where a resample holds one class only. Raises DataError as `auc`, or if a group has no column in the
    counts.
    """
    positive, score, group = _rows(y_true, y_pred, group_id, counts)
    order = np.argsort(score)
    positive, score, group = positive[order], score[order], group[order]
    of_positive, of_negative = group[positive], group[~positive]
    # How many negatives lie below each positive, and how many do not lie above it.
    below = np.searchsorted(score[~positive], score[positive], "left")
    upto = np.searchsorted(score[~positive], score[positive], "right")

    negatives_before = np.zeros(len(of_negative) + 1, np.int64)
    values = np.full(len(counts), np.nan)
    for resample, drawn in enumerate(counts):
        np.cumsum(drawn[of_negative], out=negatives_before[1:])
        positives = drawn[of_positive].astype(np.int64)
        # Twice the number of pairs in the right order.
        double = int(positives @ (negatives_before[below] + negatives_before[upto]))
        pairs = int(positives.sum()) * int(negatives_before[-1])
        if pairs:
            values[resample] = double / (2 * pairs)
    return values


def bootstrap_pr_auc(
    y_true: ArrayLike, y_pred: ArrayLike, group_id: ArrayLike, counts: np.ndarray
) -> np.ndarray:
    """Return the prAUC of each resample, (R,) float64: `pr_auc` of the rows that it holds.

    Arguments and errors are those of `bootstrap_auc`; NaN where a resample holds no positive.
    """
    positive, score, group = _rows(y_true, y_pred, group_id, counts)
    order = np.argsort(score)[::-1]
    positive, score, group = positive[order], score[order], group[order]
    last_of_tie = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    values = np.full(len(counts), np.nan)
    for resample, drawn in enumerate(counts):
        copies = drawn[group]
        rows = np.cumsum(copies, dtype=np.int64)[last_of_tie]
        positives = np.cumsum(copies * positive, dtype=np.int64)[last_of_tie]
        if positives[-1]:
            precision = positives / np.maximum(rows, 1)
            values[resample] = np.diff(positives, prepend=0) @ precision / positives[-1]
    return values


def bootstrap_gauc(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    group_id: ArrayLike,
    counts: np.ndarray,
    weight: str = "samples",
) -> np.ndarray:
    """Return the gAUC of each resample, (R,) float64: `gauc`, where a group drawn c times is c groups.

    Arguments are those of `bootstrap_auc`; NaN where a resample holds no group with both classes. Raises
    DataError as `bootstrap_auc` and `gauc`.
    """
    per_group = group_auc(y_true, y_pred, _group_numbers(group_id, counts))
    # Rejects an unknown weight, and data without a group that has both classes.
    mean_group_auc(per_group, weight)
    both = ~np.isnan(per_group.auc)
    groups, auc = per_group.groups[both], per_group.auc[both]
    group_weights = (
        np.ones(len(auc)) if weight == "equal" else getattr(per_group, weight)[both].astype(float)
    )
    values = np.full(len(counts), np.nan)
    for resample, drawn in enumerate(counts):
        weights = drawn[groups] * group_weights
        total = weights.sum()
        if total:
            values[resample] = weights @ auc / total
    return values


def bootstrap_metric(
    metric: str, y_true: np.ndarray, y_pred: np.ndarray, group_id: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return a metric by its name on each resample, (R,), with arguments as of `bootstrap_auc`.

    NaN where a resample has no such value.
    """
    ranking = {"AUC": bootstrap_auc, "prAUC": bootstrap_pr_auc}.get(metric)
    if ranking is not None:
        return ranking(y_true, y_pred, group_id, counts)
    weight = METRICS[metric].group_weight
    if weight is not None:
        return bootstrap_gauc(y_true, y_pred, group_id, counts, weight)
    true, pred = y_true.astype(np.float64), y_pred.astype(np.float64)

    def total(values: np.ndarray) -> np.ndarray:
        of_group = np.bincount(group_id, values)
        # Row by row: all of them as floating point numbers would take twice the counts' memory.
        return np.array([drawn[: len(of_group)] @ of_group for drawn in counts])

    rows = total(np.ones(len(true)))
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric in ("MSE", "MAE"):
            values = (
                total(np.square(pred - true) if metric == "MSE" else np.abs(pred - true)) / rows
            )
        elif metric == "R2":
            apart = true - true.mean()
            values = 1 - total((pred - true) ** 2) / (total(apart**2) - total(apart) ** 2 / rows)
        elif metric in ("calibration", "calibration_error"):
            values = total(pred) / total(true)
            values = np.abs(values - 1) if metric == "calibration_error" else values
        else:
            values = total(cross_entropies(true == 1, pred)) / rows
            if metric == "NE":
                share = total(true) / rows
                values /= -(share * np.log(share) + (1 - share) * np.log1p(-share))
    return np.where(np.isfinite(values), values, np.nan)


def _rows(
    y_true: ArrayLike, y_pred: ArrayLike, group_id: ArrayLike, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return checked labels, scores and numbers of groups, (N,) each."""
    positive, score = binary_labels(y_true), numbers("y_pred", y_pred)
    group = _group_numbers(group_id, counts)
    same_length(y_true=positive, y_pred=score, group_id=group)
    return positive, score, group


def _group_numbers(group_id: ArrayLike, counts: np.ndarray) -> np.ndarray:
    group = column("group_id", group_id)
    if counts.ndim != 2 or counts.dtype.kind not in "iu":
        raise DataError(
            f"counts must be integers of shape (resamples, groups), as resample_counts gives them, "
            f"but have shape {counts.shape} and dtype {counts.dtype}."
        )
    if group.dtype.kind not in "iu":
        raise DataError(
            f"group_id must hold the numbers of groups, but has dtype {group.dtype}. Number the ids "
            f"first: numpy.unique(ids, return_inverse=True)[1]."
        )
    if group.min() < 0 or group.max() >= counts.shape[1]:
        raise DataError(
            f"group_id reaches from {group.min()} to {group.max()}, but counts are there for the "
            f"groups 0 to {counts.shape[1] - 1}. Number the ids first: numpy.unique(ids, "
            f"return_inverse=True)[1]."
        )
    return group
