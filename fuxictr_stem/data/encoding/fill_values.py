"""What missing values become, and whether real values are that, too.

Ids are FuxiCTR's: a missing integer is the token 0, missing text is unknown, a sequence's fill value is
padding. Where real values are the same, a model cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META
from fuxictr_stem.data.encoding.fill_steps import missing_values
from fuxictr_stem.data.source.columns import DEFAULTS
from fuxictr_stem.data.source.split_files import Source, whole_number


@dataclass(frozen=True)
class Fill:
    """What a column's missing values become."""

    name: str
    kind: str  # its type; ``label`` for a label
    value: Any
    # Whether the config names it; FuxiCTR then takes real values that equal it for missing.
    chosen: bool
    source: str  # the column that says which rows have none
    clashes: pl.Expr  # whether a value, after filling, is what missing ones become
    advice: str  # the next step
    # The column with the numbers of which this column is the text; "" if there is none.
    numbers: str = ""

    @property
    def text(self) -> pl.Expr:
        """The fill value as text."""
        return pl.lit(self.value).cast(pl.String)


def fills(source: Source) -> list[Fill]:
    """Return the fill of each column that may have missing values."""
    plan, whole = source.plan, source.whole_numbers()
    advice = "Declare missing: nan instead of fill_na to leave these rows out."
    result = [
        Fill(c.name, "label", c.fill, True, c.name, pl.col(c.name) == c.fill, advice)
        for c in plan.columns
        if c.kind == "label" and c.fill is not None
    ]
    values = missing_values(plan)
    for col in plan.read_features:
        column = plan.source_of(col["name"])
        if not col["active"] or not column.filled:
            continue
        dtype, value = col["dtype"], values[col["name"]]
        is_id = col["type"] in (CATEGORICAL, META)
        numbers = whole_number(column.name) if is_id and column.name in whole else ""
        clashes = _clashes(col, dtype, value, numbers)
        if clashes is not None:
            free = "missing" if dtype is str else -1
            advice = f"Set a fill_na that no row holds, such as {free!r}."
            chosen = col.get("fill_na", DEFAULTS[dtype]) == value and "fill_na" in col
            result.append(
                Fill(col["name"], col["type"], value, chosen, column.name, clashes, advice, numbers)
            )
    return result


def _clashes(col: Mapping[str, Any], dtype: type, value: Any, numbers: str) -> pl.Expr | None:
    """Return whether a row holds the fill value; None where that is no harm."""
    held = pl.col(col["name"])
    if dtype is not str:
        return held == value
    text = pl.lit(value).cast(pl.String)
    if numbers:
        number = text.cast(pl.Int64, strict=False)
        return (pl.col(numbers) == number) & (number.cast(pl.String) == text)
    if col["type"] != "sequence":
        return held == text
    if value == "":
        # An empty list and a missing one are padding alike, and should be.
        return None
    return held.list.set_intersection(text.str.split(col.get("splitter", "^"))).list.len() > 0
