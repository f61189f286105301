"""Which settings a search tries next: all of a grid, by chance, or by what the trials before gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.tuning.run_spec import digest
from fuxictr_stem.tuning.space import GRID, RANDOM, Space, grid_of
from fuxictr_stem.tuning.trial import Trial

_MOST_DRAWS = 100


class Sampler(Protocol):
    """Chooses the settings of trials."""

    total: int

    def known(self) -> int:
        """Return how many trials have their settings by now; the first of them were there before."""

    def settings(self, number: int) -> dict[str, Any]:
        """Return a trial's settings, which are chosen now if it is the next one."""

    def tell(self, trial: Trial) -> None:
        """Learn what became of a trial."""


class FixedSampler:
    """Trials that do not depend on one another."""

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        self.points = list(points)
        self.total = len(self.points)

    def known(self) -> int:
        """Return the number of all trials."""
        return self.total

    def settings(self, number: int) -> dict[str, Any]:
        """Return a trial's settings."""
        return dict(self.points[number])

    def tell(self, trial: Trial) -> None:
        """Learn nothing."""


@dataclass(frozen=True)
class Search:
    """A search: what it may try, how, and how often.

    Attributes:
        space: What each key may be.
        sampler: One of `SAMPLERS`.
        trials: How many there are; None for a grid.
        seed: Of all chance.
    """

    space: Space
    sampler: str = GRID
    trials: int | None = None
    seed: int = 0

    def digest(self) -> str:
        """Return eight digits that change with what the trials are drawn from, not with their number."""
        return digest([repr(self.space), self.sampler, self.seed])[:8]

    def make_sampler(
        self, own: Mapping[str, Any], modes: Sequence[str], journal: Path, name: str
    ) -> Sampler:
        """Return the sampler of an experiment.

        Args:
            own: The experiment's own settings of the keys that are searched: the first trial, unless
                there is a grid.
            modes: Whether each objective is best at its ``max`` or ``min``.
            journal: File of the trials, for the samplers that learn from them.
            name: Of the search within that file; it must change with what decides the numbers.

        Raises:
            ConfigError: A package is not installed.
        """
        if self.sampler == GRID:
            return FixedSampler(grid_of(self.space))
        assert self.trials is not None
        if self.sampler == RANDOM:
            return FixedSampler(_drawn(self.space, own, self.trials, self.seed))
        check_sampler(self.sampler)
        from fuxictr_stem.tuning.tpe import TpeSampler

        return TpeSampler(self.space, own, self.trials, self.seed, modes, journal, name)


def check_sampler(sampler: str) -> None:
    """Reject a sampler whose package is not installed.

    Raises:
        ConfigError: It is not.
    """
    if sampler in (GRID, RANDOM):
        return
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"sampler: {sampler} needs the package optuna, which is not installed ({error}). Install it: "
            "pip install 'fuxictr_stem[tune]'. Or set sampler: grid, or random, which need none."
        ) from error


def _drawn(space: Space, own: Mapping[str, Any], trials: int, seed: int) -> list[dict[str, Any]]:
    """Return the own settings and others by chance, none twice; fewer where there are no more."""
    points = [dict(own)]
    for number in range(1, trials):
        # A trial is the same however many there are.
        rng = np.random.default_rng([seed, number])
        for _ in range(_MOST_DRAWS):
            point = {name: values.draw(rng) for name, values in space.items()}
            if point not in points:
                points.append(point)
                break
    return points
