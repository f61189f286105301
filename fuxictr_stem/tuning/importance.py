"""How much of what trials differ in is due to each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_GROUPS = 4


def importance(settings: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, float]:
    """Return the share of the variance of the values that each key alone explains.

    It is epsilon squared (Kelley, 1935) over groups of trials with the same value of the key; numbers with
    more than four values are put into four groups of one size. In a full grid it is the main effect of a
    functional analysis of variance, less what groups of that number explain by chance.

    Args:
        settings: Those of each trial, (N,).
        values: Results of the trials, (N,), finite.

    Returns:
        A share from 0 to 1 for each key with at least two values; NaN where each trial has its own.

    Example:
        >>> trials = [{"rate": rate, "seed": seed} for rate in (1, 2) for seed in (1, 2)]
        >>> importance(trials, [0.6, 0.6, 0.8, 0.8])
        {'rate': 1.0, 'seed': 0.0}
    """
    y = np.asarray(values, dtype=float)
    shares = {}
    for key in dict.fromkeys(key for point in settings for key in point):
        groups = _groups([point.get(key) for point in settings])
        count = len(set(groups.tolist()))
        if count > 1:
            shares[key] = _epsilon_squared(groups, y, count)
    return shares


def _groups(column: Sequence[Any]) -> np.ndarray:
    """Return the number of each trial's group, (N,)."""
    texts = [repr(value) for value in column]
    names = list(dict.fromkeys(texts))
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in column)
    if not numeric or len(names) <= _GROUPS:
        return np.array([names.index(text) for text in texts])
    numbers = np.asarray(column, dtype=float)
    ends = np.quantile(numbers, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    return np.searchsorted(ends, numbers)


def _epsilon_squared(groups: np.ndarray, y: np.ndarray, count: int) -> float:
    total = float(((y - y.mean()) ** 2).sum())
    if len(y) <= count:
        return float("nan")
    if total == 0:
        return 0.0
    within = sum(
        float(((y[groups == group] - y[groups == group].mean()) ** 2).sum())
        for group in np.unique(groups)
    )
    share = 1 - within / total * (len(y) - 1) / (len(y) - count)
    return max(share, 0.0)
