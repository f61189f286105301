"""The median stopping rule: Golovin et al., Google Vizier, KDD 2017, section 3.2.1."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

_LEAST_TRIALS = 5
"""So many others must have come as far, or their median says little."""


def is_hopeless(evaluations: Sequence[float], others: Iterable[Sequence[float]], mode: str) -> bool:
    """Say whether a trial's best value so far is worse than the median of the others' at the same point.

    Args:
        evaluations: The monitor at each evaluation of the trial.
        others: The same of trials that have ended.
        mode: Whether the monitor is best at its ``max`` or ``min``.

    Example:
        >>> others = [[0.6, 0.7], [0.6, 0.7], [0.5, 0.7], [0.6, 0.8], [0.6, 0.8]]
        >>> is_hopeless([0.5], others, "max"), is_hopeless([0.6, 0.9], others, "max")
        (True, False)
    """
    best = max if mode == "max" else min
    count = len(evaluations)
    as_far = [best(values[:count]) for values in others if len(values) >= count]
    if len(as_far) < _LEAST_TRIALS:
        return False
    reached, median = best(evaluations), statistics.median(as_far)
    return reached < median if mode == "max" else reached > median
