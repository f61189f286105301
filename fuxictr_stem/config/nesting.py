"""Labels that combine two others, and labels that are nested in another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fuxictr_stem.config.column_words import combined_labels
from fuxictr_stem.config.reading import Entry
from fuxictr_stem.errors import Problem, suggest
from fuxictr_stem.models.nesting import ancestors


def labels_of_files(label_col: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the labels of a dataset that its files hold: those that combine no others.

    Example:
        >>> both = {"name": "both", "preprocess": "both(click, like)"}
        >>> labels_of_files([{"name": "click"}, {"name": "like"}, both])
        [{'name': 'click'}, {'name': 'like'}]
    """
    return [dict(col) for col in label_col if not combined_labels(col.get("preprocess"))]


def combined_problems(labels: Sequence[Entry]) -> Iterator[Problem]:
    """Yield labels that combine anything but two labels of the files."""
    in_files = [col["name"] for col in labels_of_files(entry.values for entry in labels)]
    for place, col, _ in labels:
        pair = combined_labels(col.get("preprocess"))
        if pair is None:
            continue
        at = f"{place}.preprocess"
        if pair[0] == pair[1]:
            yield Problem(at, f"combines {pair[0]!r} with itself.", "Name two labels.")
        for name in dict.fromkeys(pair):
            if name not in in_files:
                there = ", ".join(in_files) or "none"
                text = f"combines {name!r}, but the labels that the files hold are {there}."
                yield Problem(at, text, suggest(name, in_files))
        for key in ("fill_na", "missing"):
            if key in col:
                yield Problem(
                    f"{place}.{key}",
                    "is not for a label that combines two others.",
                    f"Give it to {' and '.join(dict.fromkeys(pair))}.",
                )


def parent_problems(labels: Sequence[Entry]) -> Iterator[Problem]:
    """Yield parents that are no labels, and labels nested in themselves."""
    columns = [entry.values for entry in labels]
    names = [col["name"] for col in columns]
    for place, col, _ in labels:
        name, parent, at = col["name"], col.get("parent"), f"{place}.parent"
        if parent is None:
            continue
        above = ancestors(columns, name)
        if parent not in names:
            text = f"{parent!r} is not a label of label_col, which has {', '.join(names)}."
            yield Problem(at, text, suggest(parent, names))
        elif name in above:
            circle = " in ".join([name, *above[: above.index(name) + 1]])
            hint = "Name the label that comes first as the parent."
            yield Problem(at, f"nests labels in a circle: {circle}.", hint)
