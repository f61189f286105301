"""Which labels a label is declared nested in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Labels = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A dataset's ``label_col``: a dict per label, or that of its only one."""


def ancestors(label_col: Labels, label: str) -> list[str]:
    """Return the labels that a label is declared nested in: its ``parent``, that one's, and so on."""
    columns = [label_col] if isinstance(label_col, Mapping) else label_col
    parents = {col["name"]: col.get("parent") for col in columns}
    labels: list[str] = []
    parent = parents.get(label)
    while parent is not None and parent not in labels:
        labels.append(parent)
        parent = parents.get(parent)
    return labels
