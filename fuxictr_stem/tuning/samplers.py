"""Which settings a search tries next: all of a grid, at random, or by the results so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.tuning.run_spec import Outcomes, RunSpec
from fuxictr_stem.tuning.space import GRID, RANDOM, Search, grid_of
from fuxictr_stem.tuning.trials import DONE, FAILED, PRUNED, Trial, Trials, monitored

if TYPE_CHECKING:
    from fuxictr_stem.tuning.tpe import TpeSampler

_MOST_DRAWS = 100


class FixedSampler:
    """Chooses trials that do not depend on one another."""

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        self.points = list(points)
        self.total = len(self.points)

    def num_chosen(self) -> int:
        """Return how many trials have settings so far: all of them."""
        return self.total

    def settings(self, number: int) -> dict[str, Any]:
        """Return a trial's settings, which are chosen now if it is the next one."""
        return dict(self.points[number])

    def tell(self, trial: Trial) -> None:
        """Learn what became of a trial, which is nothing here."""


def make_sampler(
    search: Search, base_settings: Mapping[str, Any], modes: Sequence[str], journal: Path, name: str
) -> FixedSampler | TpeSampler:
    """Return the sampler of an experiment, which `check_sampler` has let pass.

    Args:
        search: What it may try, how, and how often.
        base_settings: The experiment's settings of the keys that are searched: the first trial, unless
            there is a grid.
        modes: Whether each objective is best at its ``max`` or ``min``.
        journal: File of the trials, for the samplers that learn from them; nothing else may write there.
        name: Of the search within that file; it must change with what decides the numbers.
    """
    if search.sampler == GRID:
        return FixedSampler(grid_of(search.space))
    if search.sampler == RANDOM:
        return FixedSampler(_random_points(search, base_settings))
    from fuxictr_stem.tuning.tpe import TpeSampler

    return TpeSampler(search, base_settings, modes, journal, name)


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


def _random_points(search: Search, base_settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the base settings and random others, none twice; fewer where there are no more."""
    points = [dict(base_settings)]
    for number in range(1, search.total):
        # A trial is the same however many there are.
        rng = np.random.default_rng([search.seed, number])
        for _ in range(_MOST_DRAWS):
            point = {name: values.draw(rng) for name, values in search.space.items()}
            if point not in points:
                points.append(point)
                break
    return points


class SearchRuns:
    """The runs of one experiment's search.

    ``make`` returns the run of a trial by its number from 0 and its settings. ``objectives`` are results on
    valid to make best; none: the monitor of the experiment's ``params``.
    """

    def __init__(
        self,
        expid: str,
        params: Mapping[str, Any],
        sampler: FixedSampler | TpeSampler,
        make: Callable[[int, dict[str, Any]], RunSpec],
        objectives: Iterable[str] = (),
    ) -> None:
        self._expid, self._params, self._sampler, self._make = expid, params, sampler, make
        self._objectives = list(objectives)
        self.total = sampler.total
        self.chosen = [make(n, sampler.settings(n)) for n in range(sampler.num_chosen())]

    def specs(self, may_choose: Callable[[], bool] = lambda: True) -> Iterator[RunSpec]:
        """Yield the run of each trial; the next one is chosen when it is asked for."""
        for number in range(self.total):
            if number == len(self.chosen):
                if not may_choose():
                    return
                self.chosen.append(self._make(number, self._sampler.settings(number)))
            yield self.chosen[number]

    def ended(self, spec: RunSpec, outcomes: Outcomes) -> None:
        """Have the sampler learn from a run, for each trial that it is the run of."""
        for number, trial in enumerate(self.chosen):
            if trial.key == spec.key:
                self._sampler.tell(self._trial(number, outcomes))

    def trials(self, outcomes: Outcomes) -> Trials:
        """Return the trials that have ended."""
        every = [self._trial(n, outcomes) for n, s in enumerate(self.chosen) if s in outcomes]
        return Trials(self._expid, self._params["monitor"], self._params["monitor_mode"], every)

    def monitored(self, evaluations: Iterable[Mapping[str, Any]]) -> list[float]:
        """Return the monitor at each evaluation of a run."""
        return [monitored(self._params["monitor"], record["valid"]) for record in evaluations]

    def _trial(self, number: int, outcomes: Outcomes) -> Trial:
        spec = self.chosen[number]
        place = number, spec.folder.name, spec.trial
        if spec.key in outcomes.failed:
            return Trial(*place, FAILED, reason=outcomes.failed[spec.key])
        result = outcomes.done[spec.key]
        value = monitored(self._params["monitor"], result["valid"])
        return Trial(
            *place,
            PRUNED if result.get("pruned") else DONE,
            value,
            {name: result["valid"].get(name, math.nan) for name in self._objectives}
            or {"monitor": value},
            self.monitored(result["evaluations"]),
            result.get("epochs"),
        )
