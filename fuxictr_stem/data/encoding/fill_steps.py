"""Missing values filled and columns copied and made, in FuxiCTR's order.

FuxiCTR's ``preprocess`` goes through the columns from the last to the first, fills each, then copies: a
copy of a later column is of filled values, one of an earlier column is filled by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.config.column_words import EMBEDDING, SEQUENCE, copied_column
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.columns import DEFAULTS
from fuxictr_stem.data.source.derived_columns import filled


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
        if name in values and col["type"] != EMBEDDING:
            value = col.get("fill_na", DEFAULTS[col["dtype"]])
            values[name] = values[name].fill_null(_fill(col, value))
            fills.setdefault(name, value)
        if name in derived:
            before.append([value.alias(other) for other, value in values.items()])
            values = {other: pl.col(other) for other in values}
            values[name] = filled(derived[name])
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
    return pl.lit(value).cast(pl.String).str.split(col.get("splitter", "^"))
