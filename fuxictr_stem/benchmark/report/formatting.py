"""How the leaderboard and the report write numbers and tables, by the files in ``templates/``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fuxictr_stem.benchmark.score.leaderboard import Score
from fuxictr_stem.benchmark.score.significance import ALPHA
from fuxictr_stem.metrics import METRICS

LACKING = "–"
# A longer number would hide how small it is.
_MOST_DIGITS = 8


class Section(str, Enum):
    """The parts of the report, in order; the value is the heading."""

    QUALITY = "Quality"
    TRANSFER = "Transfer: against single-task"
    BASELINE = "Against the best baseline"
    COST = "Cost"
    SEARCH = "Search"
    TRAINING = "Training"
    SLICES = "Comparable samples"
    GATES = "Gates"
    FLOW = "Gradient flow"
    TABLES = "Embedding tables"


def file_name(*parts: str) -> str:
    """Return a name made of parts for a file or an anchor: letters, digits, points and dashes only."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts)).strip("-.").lower()


def number(value: float, digits: int = 4) -> str:
    """Return a number without a leading zero, as in ``.7572``; five figures from 10 on; a dash for NaN.

    What is not zero is not written as zero: it gets as many digits as its first figure needs.

    Example:
        >>> number(0.75724), number(-0.00002), number(12345.678)
        ('.7572', '-.00002', '12346')
    """
    if math.isnan(value):
        return LACKING
    if 0 < abs(value) < 0.5 * 10**-digits:
        digits = -math.floor(math.log10(abs(value)))
    if digits > _MOST_DIGITS:
        return f"{value:.0e}"
    text = f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.5g}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float) -> str:
    """Return a difference with its sign, as in ``+.0012``; an exact zero has none."""
    return f"+{number(value)}" if value > 0 else number(value)


def span(low: float, high: float) -> str:
    """Return an interval, as in ``[-.0003, +.0012]``; an end is written as zero only if it is zero."""
    return f"[{signed(low)}, {signed(high)}]"


def mean_and_sd(score: Score) -> str:
    """Return a mean with its standard deviation over seeds, as in ``.7572 ± .0011``."""
    return number(score.mean) + ("" if score.sd is None else f" ± {number(score.sd)}")


def seconds(value: float) -> str:
    """Return seconds with a decimal, as in ``12.3``, or with two figures where they are few."""
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def p_value(p: float) -> str:
    """Return a p value with three digits, as in ``.012`` or ``< .001``; more where they hide a side.

    A value next to .05 is written so that it shows on which side it is.
    """
    digits = 3
    while round(p, digits) == ALPHA != p and digits < _MOST_DIGITS:
        digits += 1
    return "< .001" if p < 0.0005 else number(p, digits)


def direction(metric: str) -> str:
    """Return which way a metric is better."""
    words = {True: "higher", False: "lower", None: "neither higher nor lower"}
    return f"{words[METRICS[metric].higher_is_better]} is better"


def better(metric: str) -> str:
    """Return which way a metric is better, as the end of a label."""
    return "" if METRICS[metric].higher_is_better is None else f", {direction(metric)}"


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


def failures(kind: str, reasons: Mapping[str, str], note: str = "") -> list[Table]:
    """Return a table of what failed and why, by name; none where nothing did."""
    rows = [list(row) for row in reasons.items()]
    return [Table("Failures", note, [kind, "reason"], rows, ("reason",))] if rows else []


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


# Markdown escapes by its own rules, in `finalize`; sentences are escaped where they are shown.
_ENVIRONMENTS = {
    ending: Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=ending == ".html",
        finalize=escape_markdown if ending == ".md" else None,
    )
    for ending in (".html", ".md", ".txt")
}
