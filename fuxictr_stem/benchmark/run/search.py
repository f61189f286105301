"""What a benchmark's search may try: the grid, its size, and the keys that are no part of a model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from fuxictr_stem.config.decisive import NO_SETTINGS
from fuxictr_stem.config.value_types import PlainMapping, must, named
from fuxictr_stem.errors import Problem, short

# Each is a training of every model; more is a slip of the finger, and takes minutes only to check.
MOST_TRIALS = 256

# By what, and on which samples, models are compared: of trials that differ in it none is the best.
_COMPARED_BY = (
    *("group_id", "metrics", "monitor", "monitor_mode"),
    *("num_tasks", "sample_spaces", "task", "task_labels"),
)


Grid = Annotated[
    PlainMapping,
    must(
        lambda grid: all(isinstance(values, list) and values for values in grid.values()),
        "Give each key a list of values.",
    ),
    must(
        lambda grid: all(v not in vs[:i] for vs in grid.values() for i, v in enumerate(vs)),
        "Name each value once.",
    ),
    named("a mapping of keys to lists of values", type="object"),
]


def search_problems(
    search: Mapping[str, list[Any]], keys: Mapping[str, set[str]]
) -> Iterator[Problem]:
    """Yield keys that are no setting of a model or that an experiment lacks, and huge grids."""
    everything = set().union(*keys.values())
    for key in search:
        if key in _COMPARED_BY:
            text = f"{key} decides how trials are compared, so it must be the same in all of them."
            yield Problem("search", text, "Set it under settings.")
        elif key in NO_SETTINGS:
            yield Problem("search", f"{key} changes no result.", "Leave it out.")
        lacking = [expid for expid, names in keys.items() if key in everything - names]
        if lacking:
            text = f"{', '.join(lacking)} have no key {key!r}: the search is one budget for all models."
            yield Problem("search", text, "Search keys that every model has.")
    count = math.prod(len(values) for values in search.values())
    if count > MOST_TRIALS:
        product = f"the numbers of values of its {len(search)} keys are multiplied"
        text = f"must give at most {MOST_TRIALS} trials, gives {short(count)}: {product}."
        yield Problem("search", text, "Name fewer values, or fewer keys.")


def at_edge(trials: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return where a search chose the end of a grid, as in ``the lowest of 3``: better may lie beyond.

    Keys whose values are no numbers have no end, and 0 or null, such as no dropout or penalty, is none:
    nothing lies below. Each trial has its ``settings`` and whether it was ``chosen``.
    """
    chosen = [trial["settings"] for trial in trials if trial["chosen"]]
    edges = {}
    for key, value in chosen[0].items() if chosen else ():
        grid = set(_numbers(trial["settings"][key] for trial in trials))
        if len(grid) > 1 and any(_numbers([value])) and value in (min(grid), max(grid)):
            edges[key] = f"the {'lowest' if value == min(grid) else 'highest'} of {len(grid)}"
    return edges


def _numbers(values: Iterable[Any]) -> list[float]:
    """Return those that are numbers; null is 0, as of a penalty."""
    plain = [0 if value is None else value for value in values]
    return [v for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]


def trials_of(search: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return the settings of each trial: every combination, or one empty mapping without a search."""
    return [dict(zip(search, point, strict=True)) for point in itertools.product(*search.values())]
