"""A table that is written as Markdown and as HTML."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """A table's cell; strong ones stand out."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a heading and a sentence above it.

    Attributes:
        title: The heading.
        note: The sentence, or nothing.
        header: Names of the columns; the first column names the rows.
        rows: The cells.
        of_text: Columns that hold text, not numbers.
    """

    title: str
    note: str
    header: list[str]
    rows: list[list[Cell]]
    of_text: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """Return the heading, the note and a GitHub table."""
        lines = [
            f"| {' | '.join(escape_markdown(name) for name in self.header)} |",
            "|" + "".join("---|" if self._is_text(i) else "---:|" for i in range(len(self.header))),
        ]
        for row in self.rows:
            texts = [escape_markdown(cell.text) for cell in row]
            marked = [f"**{t}**" if c.strong else t for t, c in zip(texts, row, strict=True)]
            lines.append(f"| {' | '.join(marked)} |")
        note = f"{escape_markdown(self.note)}\n\n" if self.note else ""
        return f"### {escape_markdown(self.title)}\n\n{note}" + "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """Return the same in HTML; a wide table scrolls by itself."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.header)
        body = ""
        for row in self.rows:
            texts = [_strong(html.escape(c.text)) if c.strong else html.escape(c.text) for c in row]
            body += f'<tr><th scope="row">{texts[0]}</th>'
            for place, text in enumerate(texts[1:], start=1):
                kind = ' class="text"' if self._is_text(place) else ""
                body += f"<td{kind}>{text}</td>"
            body += "</tr>\n"
        note = f"<p>{html.escape(self.note)}</p>\n" if self.note else ""
        return (
            f'<h3>{html.escape(self.title)}</h3>\n{note}<div class="scroll"><table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
        )

    def _is_text(self, place: int) -> bool:
        return place == 0 or self.header[place] in self.of_text


def escape_markdown(text: str) -> str:
    """Return text that a Markdown table shows as it is."""
    flat = " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", flat)


def _strong(text: str) -> str:
    return f"<strong>{text}</strong>"
