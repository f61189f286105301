"""What a search may try: lists of values and ranges, the grid of them, and keys that cannot be searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from fuxictr_stem.config import value_types as kinds
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner
from fuxictr_stem.config.result_settings import NO_SETTINGS
from fuxictr_stem.config.schema import REQUIRED, Shape
from fuxictr_stem.config.schema import key as field
from fuxictr_stem.errors import Problem, short
from fuxictr_stem.tuning.run_spec import digest

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


class ChoicesShape(Shape):
    """Values to choose from; the same as a list."""

    choices: kinds.Several[kinds.PlainValue] = field("the values", REQUIRED)


_WholeNumber = Annotated[int, Field(ge=-kinds.LARGEST, le=kinds.LARGEST)]
_End = Annotated[_WholeNumber | kinds.Number, kinds.named("a finite number", type="number")]


@dataclass(frozen=True)
class Choices:
    """Some values."""

    values: list[Any]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return a random value."""
        return self.values[rng.integers(len(self.values))]


@checked(frozen=True)
class Range:
    """The numbers between two, both included; whole ones if both ends are."""

    low: _End = field("the least value", REQUIRED)
    high: _End = field("the largest value", REQUIRED)
    log: bool = field("draw its logarithm, as for a learning rate", False)

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
        """Return a random number."""
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


@dataclass(frozen=True)
class Search:
    """A search: what it may try, how, and how often."""

    space: Space
    sampler: str = GRID  # one of `SAMPLERS`
    trials: int | None = None  # how many there are; None for a grid
    seed: int = 0  # of all chance

    @property
    def total(self) -> int:
        """The number of trials."""
        return grid_size(self.space) if self.trials is None else self.trials

    def digest(self) -> str:
        """Return eight digits that change with what the trials are drawn from, not with their number."""
        return digest([repr(self.space), self.sampler, self.seed])[:8]


def read_space(space: Mapping[str, Any], sampler: str, where: str, problems: Problems) -> Space:
    """Return what each key may be: a list, a mapping of choices, a range, or a single value.

    Ranges are for samplers; a grid has none.
    """
    read: dict[str, Choices | Range] = {}
    for name, values in space.items():
        place = f"{where}.{name}"
        if isinstance(values, dict) and {"low", "high"} & values.keys():
            fields = Range.__pydantic_fields__  # type: ignore[attr-defined]
            ends = read_inner(fields, values, place, problems)
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


def key_problems(where: str, searched: Iterable[str], hint: str) -> Iterator[Problem]:
    """Yield keys that are no setting of a model, or by which trials are compared."""
    for key in searched:
        if key in COMPARED_BY:
            text = "decides how trials are compared, so it must have one value in all of them."
            yield Problem(f"{where}.{key}", text, hint)
        elif key in NO_SETTINGS:
            yield Problem(f"{where}.{key}", "changes no result.", hint)


def budget_problems(where: str, search: Search, most: int) -> Iterator[Problem]:
    """Yield what is wrong with how many trials there are."""
    sampler, trials = search.sampler, search.trials
    count = grid_size(search.space) if sampler == GRID else trials
    if sampler == GRID and trials is not None:
        text = f"a grid always has as many trials as combinations of values: {short(count)}."
        yield Problem("trials", text, "Leave trials out, or set sampler: random, or tpe.")
    elif count is None:
        yield Problem("trials", f"must say how many trials sampler: {sampler} makes.")
    elif sampler == GRID and count > most:
        product = f"the numbers of values of its {len(search.space)} keys are multiplied"
        text = f"must give at most {most} trials, gives {short(count)}: {product}."
        yield Problem(where, text, "Name fewer values, or fewer keys.")


def points_to_check(search: Search) -> list[dict[str, Any]]:
    """Return all of a grid, else settings that hold each value and both ends of each range once."""
    if search.sampler == GRID:
        return grid_of(search.space)
    lists = {
        name: values.values if isinstance(values, Choices) else [values.low, values.high]
        for name, values in search.space.items()
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
