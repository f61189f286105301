"""Comparable samples: groups (users) by the relative amount of positive feedback of two tasks.

The STEM paper (arXiv 2308.13537) splits samples by the relative amount of positive feedback among tasks,
and does not publish the ratio or its thresholds. Ours, for tasks a and b, all counted on *train*: group u
has m_a(u) rows with a label of task a, n_a(u) of them positive; r_a is the positive rate of task a over
all rows, and s (``smoothing``) a number of pseudo-rows with the base rate:

    relative_to base_rate    lift_a(u)  = (n_a(u) + s r_a) / ((m_a(u) + s) r_a)
                             balance(u) = log2( lift_a(u) / lift_b(u) )
    relative_to counts       balance(u) = log2( (n_a(u) + s r_a) / (n_b(u) + s r_b) )

``base_rate`` asks whether the user gives more of a than users do, against the same of b. Where likes are
rare and views are common, nearly every user has more views than likes, so by ``counts`` nearly every
user is dominated by views: that ratio suits tasks of similar rates.

A group is *cold* if it has fewer than ``min_rows`` rows with a label of either task, or no positive of
either, or is not in train at all. Of the others:

    balance > high           task a dominates
    low <= balance <= high   comparable
    balance < low            task b dominates

with ``thresholds`` (low, high), by default (-1, 1): comparable is within a factor of two; or low and high
are the ``quantiles`` of the balance over the groups that are not cold, one vote per group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import ConfigError, DataError, choice_problems, misfit, raise_first
from fuxictr_stem.metrics.check_arrays import column, same_length

RELATIVE_TO = ("base_rate", "counts")
# What arguments must be, in words.
TWO_LABELS = "a list of two different labels"
THRESHOLDS = "[low, high], two numbers, the lower one first"
QUANTILES = "[low, high], two numbers from 0 to 1, the lower one first"
A_DOMINATES, COMPARABLE, B_DOMINATES, COLD = range(4)


@dataclass(frozen=True)
class PositiveBalance:
    """Groups by the relative amount of positive feedback of two tasks, G groups."""

    labels: tuple[str, str]  # the two tasks, a and b
    # Names of the four slices, by number: a dominates, comparable, b dominates, cold.
    names: list[str]
    thresholds: tuple[float, float]  # (low, high) between which the balance is comparable
    groups: np.ndarray  # (G,) ids of the groups of train, sorted
    slice_of_group: np.ndarray  # (G,) number of each group's slice
    # (G,) log2 of the ratio; NaN where a group has no positive and no smoothing.
    balance: np.ndarray
    rows: np.ndarray  # (2, G) rows of train with a label of each task
    positives: np.ndarray  # (2, G) those that are positive

    def assign(self, group_id: ArrayLike) -> np.ndarray:
        """Return the number of each sample's slice, (N,); groups that train lacks are cold.

        Raises DataError if the ids, (N,), are of another kind than those of train.
        """
        ids = column("group_id", group_id)
        if _kind(ids) != _kind(self.groups):
            raise DataError(
                f"group_id has dtype {ids.dtype}, but the groups of train have {self.groups.dtype}. "
                f"Take both from the same column, encoded alike."
            )
        place = np.searchsorted(self.groups, ids)
        place[place == len(self.groups)] = 0
        return np.where(self.groups[place] == ids, self.slice_of_group[place], COLD)


def positive_balance(
    group_id: ArrayLike,
    labels: Mapping[str, ArrayLike],
    pair: tuple[str, str] | None = None,
    relative_to: str = "base_rate",
    smoothing: float = 20.0,
    min_rows: int = 5,
    thresholds: tuple[float, float] = (-1.0, 1.0),
    quantiles: tuple[float, float] | None = None,
) -> PositiveBalance:
    """Sort the groups of the training split into slices, as the module's docstring says.

    ``group_id`` and each of the ``labels`` (0, 1, or NaN where a row has none) are (N,). ``pair`` names the
    tasks a and b, by default the two that there are. ``quantiles`` take the place of ``thresholds``.

    Raises:
        ConfigError: If a choice is out of range, or the pair is not clear.
        DataError: If lengths differ, a label is neither 0, 1 nor NaN, or a task has no positive.

    Example:
        >>> balance = positive_balance([1, 1, 2, 2], {"a": [1, 1, 0, 0], "b": [0, 0, 1, 1]}, min_rows=1)
        >>> balance.thresholds, balance.names[balance.slice_of_group[0]]
        ((-1.0, 1.0), 'comparable')
    """
    first, second = _check_pair(pair, list(labels))
    raise_first(choice_problems("relative_to", relative_to, RELATIVE_TO))
    for key, value, fits, words in (
        ("smoothing", smoothing, 0 <= smoothing < np.inf, "a finite number >= 0"),
        ("min_rows", min_rows, min_rows >= 0, "a whole number >= 0"),
        ("thresholds", thresholds, is_rising(thresholds), THRESHOLDS),
        ("quantiles", quantiles, quantiles is None or is_rising(quantiles, 0, 1), QUANTILES),
    ):
        if not fits:
            raise_first([misfit(key, words, value)])
    groups, codes = np.unique(column("group_id", group_id), return_inverse=True)
    counts = [_count(label, labels[label], codes, len(groups)) for label in (first, second)]
    rows, positives = (np.stack(arrays) for arrays in zip(*counts, strict=True))
    rate = positives.sum(axis=1, keepdims=True) / rows.sum(axis=1, keepdims=True)
    amount = positives + smoothing * rate
    # Without smoothing, a group may have no positive of a task, or not even a label.
    with np.errstate(divide="ignore", invalid="ignore"):
        if relative_to == "base_rate":
            amount = amount / ((rows + smoothing) * rate)
        balance = np.log2(amount[0]) - np.log2(amount[1])
    cold = (rows.max(axis=0) < max(min_rows, 1)) | ~positives.any(axis=0) | np.isnan(balance)
    low, high = thresholds
    if quantiles is not None:
        if cold.all():
            raise DataError(
                f"quantiles need groups that are not cold, but all {len(groups)} groups of train "
                f"have fewer than {min_rows} rows or no positive. Lower min_rows."
            )
        # Without smoothing a balance may be infinite, between whose likes nothing is interpolated.
        low, high = np.quantile(balance[~cold], quantiles, method="nearest").tolist()
    number = np.where(balance > high, A_DOMINATES, np.where(balance < low, B_DOMINATES, COMPARABLE))
    return PositiveBalance(
        labels=(first, second),
        names=[f"{first} dominates", "comparable", f"{second} dominates", "cold"],
        thresholds=(low, high),
        groups=groups,
        slice_of_group=np.where(cold, COLD, number),
        balance=balance,
        rows=rows,
        positives=positives,
    )


def slice_numbers(name: str, values: ArrayLike, num_slices: int | None) -> tuple[np.ndarray, int]:
    """Return the number of each sample's slice, (N,), and how many slices there are.

    Raises:
        DataError: If they are no whole numbers, or out of range; ``name`` is what the message calls them.
    """
    numbers = column(name, values)
    if numbers.dtype.kind not in "iu":
        raise DataError(f"{name} must hold whole numbers from 0, but has dtype {numbers.dtype}.")
    least, most = int(numbers.min()), int(numbers.max())
    count = most + 1 if num_slices is None else num_slices
    if least < 0 or most >= count:
        slices = f"the slices are 0 to {count - 1}, {count} in all"
        raise DataError(f"{name} reaches from {least} to {most}, but {slices}.")
    return numbers, count


def _count(
    label: str, values: ArrayLike, codes: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with a label and the positives of each group."""
    array = column(label, values)
    same_length(**{label: array, "group_id": codes})
    present, positive = array == array, array == 1
    invalid = present & ~positive & (array != 0)
    if invalid.any():
        raise DataError(
            f"{label} has {np.count_nonzero(invalid)} of {len(array)} labels that are neither 0, 1 nor "
            f"NaN, such as {array[invalid][0]!s}. Positive feedback is counted for binary tasks."
        )
    if not positive.any():
        raise DataError(f"{label} has no positive in train, so nothing is relative to it.")
    rows, positives = (
        np.bincount(codes[counted], minlength=groups) for counted in (present, positive)
    )
    return rows, positives


def is_rising(bounds: Sequence[float], low: float = -np.inf, high: float = np.inf) -> bool:
    """Return whether bounds are two numbers within limits, the lower one first."""
    return len(bounds) == 2 and low <= bounds[0] <= bounds[1] <= high


def _check_pair(pair: tuple[str, str] | None, labels: list[str]) -> tuple[str, str]:
    if pair is None and len(labels) != 2:
        raise ConfigError(f"pair: there are {len(labels)} tasks, {labels}. Name two of them.")
    first, second = pair or labels
    for label in (first, second):
        raise_first(choice_problems("pair", label, labels))
    if first == second:
        raise_first([misfit("pair", TWO_LABELS, [first, second])])
    return first, second


def _kind(ids: np.ndarray) -> str:
    return "number" if ids.dtype.kind in "biuf" else "other"
