"""Which labels a label is declared nested in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def ancestors(label_col: Sequence[Mapping[str, Any]], label: str) -> list[str]:
    """Return the labels that a label is declared nested in: its ``parent``, that one's, and so on.

    Args:
        label_col: A dataset's labels, a dict each.
        label: The label to begin with.
    """
    parents = {col["name"]: col.get("parent") for col in label_col}
    labels: list[str] = []
    parent = parents.get(label)
    while parent is not None and parent not in labels:
        labels.append(parent)
        parent = parents.get(parent)
    return labels
