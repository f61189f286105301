"""A table as data; the templates write it as Markdown and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """A table's cell; strong ones stand out."""

    text: str
    strong: bool = False


def row(*cells: str | Cell) -> list[Cell]:
    """Return a table's row of texts and cells."""
    return [Cell(cell) if isinstance(cell, str) else cell for cell in cells]


@dataclass(frozen=True)
class Table:
    """A table with a heading and a sentence above it."""

    title: str
    note: str  # the sentence, or nothing
    header: list[str]  # names of the columns; the first column names the rows
    rows: list[list[Cell]]
    text_columns: tuple[str, ...] = ()  # names of the columns that hold text, not numbers

    def is_text(self, place: int) -> bool:
        """Say whether a column holds text, which aligns left."""
        return place == 0 or self.header[place] in self.text_columns
