"""Missing values filled, and columns copied and made, in FuxiCTR's order; which real values are the same.

FuxiCTR's ``preprocess`` goes through the columns from the last to the first, fills each, then copies: a
copy of a later column is of filled values, one of an earlier column is filled by itself.

Ids are FuxiCTR's: a missing integer is the token 0, missing text is unknown, a sequence's fill value is
padding. Where real values are the same, a model cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, EMBEDDING, META, SEQUENCE, copied_column
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.derived_columns import typed
from fuxictr_stem.data.source.source_column import DEFAULTS, SPLITTER
from fuxictr_stem.data.source.split_files import Source, whole_number


class FillSteps(NamedTuple):
    """How the columns that are read become filled columns."""

    # What to select first, step by step; each makes what the next one reads.
    before: list[list[pl.Expr]]
    values: dict[str, pl.Expr]  # the columns after that
    fills: dict[str, Any]  # what missing values become, of each column that is filled


def fill_steps(plan: Plan, read: Mapping[str, pl.Expr]) -> FillSteps:
    """Return the steps for the features of a plan, of which a function makes those of ``derived``.

    ``read`` is what the columns are read as, those of the plan and any others, which stay as they
    are.
    """
    before: list[list[pl.Expr]] = []
    values, fills = dict(read), dict[str, Any]()
    derived = {col["name"]: col for col in plan.derived}
    for col in reversed(plan.features):
        name = col["name"]
        if name not in read and name not in derived:
            source = str(copied_column(col.get("preprocess"), name))
            values[name] = values[source]
            fills.update({name: fills[source]} if source in fills else {})
        fill = col.get("fill_na", DEFAULTS.get(col["dtype"]))
        if name in values and col["type"] != EMBEDDING:
            values[name] = values[name].fill_null(_fill(col, fill))
            fills.setdefault(name, fill)
        if name in derived:
            before.append([value.alias(other) for other, value in values.items()])
            values = {other: pl.col(other) for other in values}
            values[name] = typed(derived[name]).fill_null(_fill(col, fill))
    return FillSteps(before, values, fills)


def missing_values(plan: Plan) -> dict[str, Any]:
    """Return what missing values become, of each feature that is filled."""
    return fill_steps(plan, {c.name: pl.col(c.name) for c in plan.columns}).fills


def filled_frame(plan: Plan, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a frame of the columns that a plan reads with missing values filled, and all features."""
    steps = fill_steps(plan, {name: pl.col(name) for name in frame.collect_schema()})
    for columns in (*steps.before, [value.alias(name) for name, value in steps.values.items()]):
        frame = frame.select(columns)
    return frame


def _fill(col: Mapping[str, Any], value: Any) -> Any:
    """Return what to fill a column with: a sequence with a list of tokens."""
    if col["type"] != SEQUENCE:
        return value
    return pl.lit(value).cast(pl.String).str.split(col.get("splitter", SPLITTER))


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
            free = "missing" if dtype == "str" else -1
            advice = f"Set a fill_na that no row holds, such as {free!r}."
            chosen = "fill_na" in col and col["fill_na"] == value
            result.append(
                Fill(col["name"], col["type"], value, chosen, column.name, clashes, advice, numbers)
            )
    return result


def _clashes(col: Mapping[str, Any], dtype: str, value: Any, numbers: str) -> pl.Expr | None:
    """Return whether a row holds the fill value; None where that is no harm."""
    held = pl.col(col["name"])
    if dtype != "str":
        return held == value
    text = pl.lit(value).cast(pl.String)
    if numbers:
        number = text.cast(pl.Int64, strict=False)
        return (pl.col(numbers) == number) & (number.cast(pl.String) == text)
    if col["type"] != SEQUENCE:
        return held == text
    if value == "":
        # An empty list and a missing one are padding alike, and should be.
        return None
    return held.list.set_intersection(_fill(col, value)).list.len() > 0
