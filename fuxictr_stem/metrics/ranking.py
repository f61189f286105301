"""AUC and AUC within groups (gAUC), exact, and the area under the precision-recall curve.

AUC is the share of (positive, negative) pairs that the scores put in the right order; a tied pair
counts one half (the Mann-Whitney statistic with averaged ranks). Pairs are counted in integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics.check_arrays import binary_labels, column, numbers, same_length

GROUP_WEIGHTS = ("samples", "equal", "positives")


class GroupAUC(NamedTuple):
    """AUC of each group, (G,) arrays sorted by id."""

    groups: np.ndarray
    auc: np.ndarray  # NaN where a group has only one class
    samples: np.ndarray
    positives: np.ndarray


def auc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the area under the ROC curve, ties averaged.

    Args:
        y_true: (N,) labels, 0 or 1.
        y_pred: (N,) scores on any scale.

    Raises:
        DataError: If lengths differ, a label is not 0/1, a score is not finite, or there is only
            one class.

    Example:
        >>> auc([1, 0, 1, 0], [0.9, 0.1, 0.4, 0.4])  # 3 pairs of 4 in order, and one tie
        0.875
    """
    positive, score = binary_labels(y_true), numbers("y_pred", y_pred)
    same_length(y_true=positive, y_pred=score)
    count = int(np.count_nonzero(positive))
    if count in (0, len(positive)):
        raise DataError(
            f"AUC needs both classes, but all {len(positive)} labels are {int(count > 0)}. Check "
            f"the label column and the split, or leave AUC out of the metrics."
        )
    negatives, positives = np.sort(score[~positive]), np.sort(score[positive])
    # Twice the number of pairs in the right order: negatives below a positive, and those not above.
    double = int(np.searchsorted(negatives, positives, "left").sum(dtype=np.int64))
    double += int(np.searchsorted(negatives, positives, "right").sum(dtype=np.int64))
    return double / (2 * len(negatives) * len(positives))


def pr_auc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the area under the precision-recall curve, the average precision; arguments as for `auc`.

    It is the sum over the distinct scores, from the highest down, of the precision among the samples with
    at least that score, times what they add to the recall; nothing is interpolated (as scikit-learn's
    ``average_precision_score``). A random order gets the share of positives. DataError as for `auc`, but
    one class only is fine if it is the positive one.
    """
    positive, score = binary_labels(y_true), numbers("y_pred", y_pred)
    same_length(y_true=positive, y_pred=score)
    if not positive.any():
        raise DataError(
            f"prAUC needs a positive, but all {len(positive)} labels are 0. Check the label column and "
            f"the split, or leave prAUC out of the metrics."
        )
    order = np.argsort(score)[::-1]
    # Tied samples enter together.
    positive, score = positive[order], score[order]
    last_of_tie = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    positives = np.cumsum(positive)[last_of_tie]
    precision = positives / (last_of_tie + 1)
    return float(np.diff(positives, prepend=0) @ precision / positives[-1])


def group_auc(y_true: ArrayLike, y_pred: ArrayLike, group_id: ArrayLike) -> GroupAUC:
    """Return the AUC of each group, ties averaged; arguments and errors are those of `gauc`."""
    positive, score = binary_labels(y_true), numbers("y_pred", y_pred)
    names, group = _group_codes(group_id)
    same_length(y_true=positive, y_pred=score, group_id=group)

    # By group, then score. Twice as fast as lexsort, which sorts stably by the score, too.
    order = np.argsort(score)
    order = order[np.argsort(group[order], kind="stable")]
    group, score, positive = group[order], score[order], positive[order]
    del order
    new_group = np.append(True, group[1:] != group[:-1])
    new_tie = new_group.copy()
    new_tie[1:] |= score[1:] != score[:-1]
    # A tie: the rows of one group with equal scores.
    start = np.flatnonzero(new_tie)
    first_tie = np.flatnonzero(new_group[start])
    first_row = start[first_tie]
    ids = group[first_row]
    del group, score, new_group, new_tie

    samples = np.diff(first_row, append=len(positive))
    # negatives_before[r]: negatives in the rows before r, over all groups.
    negatives_before = np.zeros(len(positive) + 1, np.int64)
    np.cumsum(~positive, out=negatives_before[1:])
    del positive
    before = negatives_before[start]
    upto = np.append(before[1:], negatives_before[-1])
    tie_positives = np.diff(start, append=len(negatives_before) - 1) - (upto - before)
    positives = np.add.reduceat(tie_positives, first_tie)
    negatives = samples - positives
    # Twice the pairs in the right order: a tie's positives against what lies below and not above.
    double = np.add.reduceat(tie_positives * (before + upto), first_tie)
    double -= 2 * positives * negatives_before[first_row]
    with np.errstate(invalid="ignore"):
        value = double / (2 * positives * negatives)
    return GroupAUC(ids if names is None else names[ids], value, samples, positives)


def gauc(
    y_true: ArrayLike, y_pred: ArrayLike, group_id: ArrayLike, weight: str = "samples"
) -> float:
    """Return the weighted mean of the groups' AUCs; groups of one class are left out.

    Args:
        y_true: (N,) labels, 0 or 1.
        y_pred: (N,) scores on any scale.
        group_id: (N,) ids: integers, strings, or anything that sorts.
        weight: Weight of a group: its ``samples`` (FuxiCTR's and DIN's gAUC), ``equal`` (FuxiCTR's
            avgAUC), or its ``positives``.

    Raises:
        DataError: If lengths differ, a label is not 0/1, a score is not finite, a group id is missing, the
            weight is unknown, or no group has both classes.

    Example:
        >>> users = ["a", "a", "b", "b", "b", "c"]  # c has one class and is left out
        >>> gauc([1, 0, 0, 1, 1, 1], [0.9, 0.1, 0.8, 0.3, 0.9, 0.5], users)  # (2 * 1 + 3 * .5) / 5
        0.7
    """
    return mean_group_auc(group_auc(y_true, y_pred, group_id), weight)


def mean_group_auc(per_group: GroupAUC, weight: str) -> float:
    """Return the mean of groups' AUCs, weighted as in `gauc`, with its errors."""
    if weight not in GROUP_WEIGHTS:
        rule = f"weight (of a group in gAUC) must be one of {', '.join(GROUP_WEIGHTS)}"
        raise DataError(f"{rule}, but is {weight!r}.")
    both = ~np.isnan(per_group.auc)
    if not both.any():
        raise DataError(
            f"gAUC needs a group with both classes, but none of the {len(both)} groups has a "
            "positive and a negative. Check group_id (is each row its own group?) and the label, "
            "or leave gAUC out of the metrics."
        )
    values = per_group.auc[both]
    if weight == "equal":
        return float(values.mean())
    return float(np.average(values, weights=getattr(per_group, weight)[both]))


def _group_codes(group_id: ArrayLike) -> tuple[np.ndarray | None, np.ndarray]:
    """Return (names, codes): integers are their own codes, without names."""
    group = column("group_id", group_id)
    if group.dtype.kind == "f" and isinstance(group_id, (list, tuple)):
        # NumPy turns a list with whole numbers from 2**63 on into floats, which merges neighbours.
        group = column("group_id", np.array(group_id, dtype=object))
    if group.dtype.kind in "biu":
        return None, group
    try:
        names, codes = np.unique(group, return_inverse=True)
    except TypeError:
        raise DataError(
            "group_id must hold ids of one kind, but mixes kinds that do not compare, such as text "
            "with numbers or with missing values. Fill or convert them first."
        ) from None
    missing = np.count_nonzero(group != group)
    if missing:
        raise DataError(
            f"group_id has {missing} of {len(group)} missing ids (NaN). Fill them, or leave the "
            f"rows out."
        )
    return names, codes
