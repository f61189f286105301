"""Labels that combine two others, and labels that are nested in another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fuxictr_stem.config.checking import Entry, Problems
from fuxictr_stem.config.values import combined_labels
from fuxictr_stem.errors import suggest
from fuxictr_stem.models.nesting import ancestors


def labels_of_files(label_col: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the labels of a dataset that its files hold: those that combine no others."""
    return [dict(col) for col in label_col if not combined_labels(col.get("preprocess"))]


def check_combined(labels: Sequence[Entry], problems: Problems) -> None:
    """Note labels that combine anything but two labels of the files."""
    in_files = [col["name"] for col in labels_of_files(col for _, col, _ in labels)]
    for place, col, _ in labels:
        pair = combined_labels(col.get("preprocess"))
        if pair is None:
            continue
        at = f"{place}.preprocess"
        if pair[0] == pair[1]:
            problems.add(at, f"combines {pair[0]!r} with itself.", "Name two labels.")
        for name in dict.fromkeys(pair):
            if name not in in_files:
                problems.add(
                    at,
                    f"combines {name!r}, but the labels that the files hold are "
                    f"{', '.join(in_files) or 'none'}.",
                    suggest(name, in_files),
                )
        for key in ("fill_na", "missing"):
            if key in col:
                problems.add(
                    f"{place}.{key}",
                    "is not for a label that combines two others.",
                    f"Give it to {' and '.join(dict.fromkeys(pair))}.",
                )


def check_parents(labels: Sequence[Entry], problems: Problems) -> None:
    """Note parents that are no labels, and labels nested in themselves."""
    columns = [col for _, col, _ in labels]
    names = [col["name"] for col in columns]
    for place, col, _ in labels:
        parent, at = col.get("parent"), f"{place}.parent"
        if parent is None:
            continue
        above = ancestors(columns, col["name"])
        if parent not in names:
            problems.add(
                at,
                f"{parent!r} is not a label of label_col, which has {', '.join(names)}.",
                suggest(parent, names),
            )
        elif col["name"] in above:
            circle = [col["name"], *above[: above.index(col["name"]) + 1]]
            problems.add(
                at,
                f"nests labels in a circle: {' in '.join(circle)}.",
                "Name the label that comes first as the parent.",
            )
