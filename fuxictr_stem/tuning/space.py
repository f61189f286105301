"""What a search may try: lists of values and ranges, the grid of them, and keys that cannot be searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from fuxictr_stem.config import value_types as kinds
from fuxictr_stem.config.decisive import NO_SETTINGS
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner
from fuxictr_stem.config.schema import REQUIRED, Shape
from fuxictr_stem.config.schema import key as field
from fuxictr_stem.errors import Problem, short

# Each is a training of every model; more is a slip of the finger, and takes minutes only to check.
MOST_TRIALS = 256
GRID, RANDOM, TPE = "grid", "random", "tpe"
SAMPLERS = (GRID, RANDOM, TPE)

# By what, and on which samples, models are compared: of trials that differ in it none is the best.
COMPARED_BY = (
    *("group_id", "metrics", "monitor", "monitor_mode"),
    *("num_tasks", "sample_spaces", "task", "task_labels"),
)

SearchSpace = Annotated[
    kinds.PlainMapping,
    kinds.must(
        lambda space: all(isinstance(values, (list, dict)) for values in space.values()),
        "Give each key a list of values, or a range such as {low: 1.0e-4, high: 1.0e-2, log: True}.",
    ),
    kinds.named("a mapping of keys to lists of values or ranges", type="object"),
]


class RangeShape(Shape):
    """A range of numbers, from which a sampler draws: whole ones if both ends are."""

    low: int | kinds.Number = field("the least value", REQUIRED)
    high: int | kinds.Number = field("the largest value", REQUIRED)
    log: bool = field("draw its logarithm, as for a learning rate", False)


class ChoicesShape(Shape):
    """Values to choose from; the same as a list."""

    choices: kinds.Several[kinds.PlainValue] = field("the values", REQUIRED)


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: list[Any]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return a value by chance."""
        return self.values[rng.integers(len(self.values))]


@dataclass(frozen=True)
class Range:
    """The numbers between two, both included; whole ones if both ends are."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: Any) -> bool:
        """Say whether a value is one of the range."""
        kind = int if self.is_whole else (int, float)
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def draw(self, rng: np.random.Generator) -> float:
        """Return a number by chance."""
        if self.is_whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if not self.log:
            return self.tidy(rng.uniform(self.low, self.high))
        return self.tidy(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def tidy(self, value: float) -> float:
        """Return a number with four digits, or a whole one, within the range."""
        near = round(value) if self.is_whole else float(f"{value:.4g}")
        return min(max(near, self.low), self.high)


Space = Mapping[str, Choices | Range]


def read_space(space: Mapping[str, Any], sampler: str, where: str, problems: Problems) -> Space:
    """Return what each key may be: a list, a mapping of choices, a range, or a single value.

    Ranges are for samplers; a grid has none.
    """
    read: dict[str, Choices | Range] = {}
    for name, values in space.items():
        place = f"{where}.{name}"
        if isinstance(values, dict) and {"low", "high"} & values.keys():
            ends = read_inner(RangeShape.model_fields, values, place, problems)
            if {"low", "high"} <= ends.keys():
                read[name] = limits = Range(**ends)
                problems.add_all(_range_problems(place, limits, sampler))
            continue
        if isinstance(values, dict) and "choices" in values:
            shape = read_inner(ChoicesShape.model_fields, values, place, problems)
            values = shape.get("choices", [None])
        read[name] = choices = Choices(values if isinstance(values, list) else [values])
        if not choices.values:
            problems.add(place, "has no value to try.")
        if any(value in choices.values[:at] for at, value in enumerate(choices.values)):
            problems.add(place, "Name each value once.")
    return read


def _range_problems(place: str, values: Range, sampler: str) -> Iterator[Problem]:
    if sampler == GRID:
        yield Problem(place, "a grid needs a list of values.", "Or set sampler: random, or tpe.")
    if values.low >= values.high:
        yield Problem(place, f"low must be below high, found {values.low} and {values.high}.")
    elif values.log and values.low <= 0:
        yield Problem(place, f"with log, low must be above 0, found {values.low}.")


def search_problems(search: Space, keys: Mapping[str, set[str]]) -> Iterator[Problem]:
    """Yield keys that are no setting of a model or that an experiment lacks."""
    everything = set().union(*keys.values())
    for key in search:
        if key in COMPARED_BY:
            text = f"{key} decides how trials are compared, so it must be the same in all of them."
            yield Problem("search", text, "Set it under settings.")
        elif key in NO_SETTINGS:
            yield Problem("search", f"{key} changes no result.", "Leave it out.")
        lacking = [expid for expid, names in keys.items() if key in everything - names]
        if lacking:
            text = f"{', '.join(lacking)} have no key {key!r}: the search is one budget for all models."
            yield Problem("search", text, "Search keys that every model has.")


def budget_problems(
    where: str, space: Space, sampler: str, trials: int | None, most: int
) -> Iterator[Problem]:
    """Yield what is wrong with how many trials there are."""
    count = grid_size(space) if sampler == GRID else trials
    if sampler == GRID and trials is not None:
        text = f"a grid has as many trials as its values make: {short(count)}."
        yield Problem("trials", text, "Leave trials out, or set sampler: random, or tpe.")
    elif count is None:
        yield Problem("trials", f"must say how many trials sampler: {sampler} makes.")
    elif sampler == GRID and count > most:
        product = f"the numbers of values of its {len(space)} keys are multiplied"
        text = f"must give at most {most} trials, gives {short(count)}: {product}."
        yield Problem(where, text, "Name fewer values, or fewer keys.")


def at_edge(trials: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return where a search chose the end of a grid, as in ``the lowest of 3``: better may lie beyond.

    Keys whose values are no numbers have no end, and 0 or null, such as no dropout or penalty, is none:
    nothing lies below. Each trial has its ``settings`` and whether it was ``chosen``.
    """
    chosen = [trial["settings"] for trial in trials if trial["chosen"]]
    edges = {}
    for key, value in chosen[0].items() if chosen else ():
        grid = set(_numbers(trial["settings"].get(key) for trial in trials))
        if len(grid) > 1 and any(_numbers([value])) and value in (min(grid), max(grid)):
            edges[key] = f"the {'lowest' if value == min(grid) else 'highest'} of {len(grid)}"
    return edges


def _numbers(values: Iterable[Any]) -> list[float]:
    """Return those that are numbers; null is 0, as of a penalty."""
    plain = [0 if value is None else value for value in values]
    return [v for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]


def probes(space: Space) -> list[dict[str, Any]]:
    """Return settings that hold each value, and both ends of each range, at least once."""
    lists = {
        name: values.values if isinstance(values, Choices) else [values.low, values.high]
        for name, values in space.items()
    }
    most = max(map(len, lists.values()), default=0)
    return [{n: values[at % len(values)] for n, values in lists.items()} for at in range(most)]


def grid_size(space: Space) -> int:
    """Return the number of combinations."""
    return math.prod(len(v.values) for v in space.values() if isinstance(v, Choices))


def grid_of(space: Space) -> list[dict[str, Any]]:
    """Return every combination, the last key's values changing first; one empty one without keys."""
    lists = [choices.values for choices in space.values() if isinstance(choices, Choices)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*lists)]
