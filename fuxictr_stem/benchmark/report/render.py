"""Tables as data, and the files in ``templates/`` that show them: Markdown, HTML and plain sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


class Strong(str):
    """The text of a table's cell that stands out."""

    is_strong = True


@dataclass(frozen=True)
class Table:
    """A table with a heading and a sentence above it."""

    title: str
    note: str  # the sentence, or nothing
    header: list[str]  # names of the columns; the first column names the rows
    rows: list[list[str]]
    text_columns: tuple[str, ...] = ()  # names of the columns that hold text, not numbers
    picture: str = ""  # name of the picture that shows the same numbers, next to which it goes

    def is_text(self, place: int) -> bool:
        """Say whether a column holds text, which aligns left."""
        return place == 0 or self.header[place] in self.text_columns


def as_text(value: Any) -> str:
    """Return a value of a config as text for people: mappings and lists with commas.

    Example:
        >>> as_text({"epochs": 2, "units": [64, 32]})
        'epochs 2, units 64, 32'
    """
    if isinstance(value, Mapping):
        texts = [f"{key} {as_text(inner)}" for key, inner in value.items()]
        return ", ".join(texts) or "as configured"
    return ", ".join(map(as_text, value)) if isinstance(value, (list, tuple)) else str(value)


def render(name: str, **content: Any) -> str:
    """Return a template, by its file's name, with content; ``.txt`` is escaped by what shows it."""
    return _ENVIRONMENTS[Path(name).suffix].get_template(name).render(content)


def escape_markdown(text: object) -> str:
    r"""Return text that a Markdown table shows as it is.

    Example:
        >>> print(escape_markdown("<b> | *"))
        \<b> \| \*
    """
    flat = " ".join(str(text).split()).replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", flat)


def _environment(**options: Any) -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


# Markdown escapes by its own rules, in `finalize`; sentences are escaped where they are shown.
_ENVIRONMENTS = {
    ".html": _environment(autoescape=True),
    ".md": _environment(autoescape=False, finalize=escape_markdown),
    ".txt": _environment(autoescape=False),
}
