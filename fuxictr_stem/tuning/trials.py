"""What became of the trials of a search: which is best, which hopeless, and which keys matter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DONE, PRUNED, FAILED = STATES = ("done", "pruned", "failed")

Monitor = str | Mapping[str, float]

# So many others must have come as far, or their median says little.
_LEAST_TRIALS = 5
# Into so many groups numbers are put whose importance is measured.
_GROUPS = 4


@dataclass(frozen=True)
class Trial:
    """What became of one trial of a search."""

    number: int  # from 0
    name: str
    settings: dict[str, Any]
    state: str  # `DONE`, `PRUNED` or `FAILED`
    value: float = math.nan  # the monitor on valid
    objectives: dict[str, float] = field(default_factory=dict)  # on valid, by name
    evaluations: list[float] = field(default_factory=list)  # the monitor at each of them
    epochs: int | None = None  # None where the run has not ended by itself
    reason: str = ""  # of a failure


@dataclass(frozen=True)
class Trials:
    """The trials of a search that have ended, in order."""

    name: str  # of the search: the experiment
    monitor: Monitor
    mode: str  # whether the monitor is best at its ``max`` or ``min``
    every: list[Trial]

    @property
    def done(self) -> list[Trial]:
        """Those with a result."""
        return [trial for trial in self.every if trial.state == DONE]

    @property
    def best(self) -> Trial | None:
        """The one with the best monitor, of equals the first; None where none has a result."""
        return min(self.done, key=self._rank, default=None)

    def ranked(self) -> list[Trial]:
        """Return them, the best first, those without a result last."""
        return sorted(self.every, key=self._rank)

    def _rank(self, trial: Trial) -> tuple[int, float]:
        sign = -1 if self.mode == "max" else 1
        return STATES.index(trial.state), sign * trial.value

    @property
    def varied(self) -> list[str]:
        """The keys that are not the same in all trials."""
        keys = dict.fromkeys(key for trial in self.every for key in trial.settings)
        return [key for key in keys if len({repr(t.settings.get(key)) for t in self.every}) > 1]

    def edges(self) -> dict[str, str]:
        """Return where the best is at an end of what was tried, as in ``the lowest of 3``.

        There, better may lie beyond. Keys whose values are no numbers have no end, and 0 or null, such as
        no dropout or penalty, is none: nothing lies below.
        """
        edges, best = {}, self.best
        for key, value in best.settings.items() if best else ():
            tried = set(_numbers(trial.settings.get(key) for trial in self.every))
            if len(tried) > 1 and any(_numbers([value])) and value in (min(tried), max(tried)):
                edges[key] = f"the {'lowest' if value == min(tried) else 'highest'} of {len(tried)}"
        return edges


def _numbers(values: Iterable[Any]) -> list[float]:
    """Return those that are numbers; null is 0, as of a penalty."""
    plain = [0 if value is None else value for value in values]
    return [v for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]


def is_hopeless(evaluations: Sequence[float], others: Iterable[Sequence[float]], mode: str) -> bool:
    """Say whether a trial's best value so far is worse than the median of the others' at the same point.

    It is the median stopping rule (Golovin et al., Google Vizier, KDD 2017, section 3.2.1).

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


def monitored(monitor: Monitor, valid: Mapping[str, float]) -> float:
    """Return the value of an experiment's monitor in the metrics of a split."""
    weights = {monitor: 1.0} if isinstance(monitor, str) else monitor
    return sum(weight * valid[name] for name, weight in weights.items())


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
