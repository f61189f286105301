"""How the values of a column come from what a file holds, and what they may not be.

A reading never raises on a value: what cannot be read becomes null and is a fault of its row, so that one
pass over the data counts the faults of all columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META
from fuxictr_stem.data.source.source_column import (
    CARRIED,
    TYPES,
    WITHIN_INT64,
    Column,
    inner_type,
    is_text,
    read_as_whole,
)
from fuxictr_stem.errors import short

# No single letters: N, too, is what some files write for a missing value.
_YES, _NO = "(?i)^(true|yes)$", "(?i)^(false|no)$"
FLOAT32_MAX = 3.4028234663852886e38
# The least whole number that may have been its neighbour before it became a float.
_FIRST_MERGED: dict[pl.DataType, float] = {pl.Float32(): 2.0**24, pl.Float64(): 2.0**53}
_NEVER = pl.lit(False)
_NO_FLOATS = (
    "Store the column as integers or text; a float64 tells ids below 2^53 apart, a float32 2^24."
)
_NO_NAN = (
    "A whole number (int) is never NaN. Store missing values as null (polars: fill_nan(None), pandas: "
    "astype('Int64')); they become fill_na."
)
_WAS_WHOLE = (
    'In training the column was whole numbers: give them as such (astype("Int64") keeps missing ones), or '
    "as their text."
)
_NO_LABEL = (
    "A missing label is not a negative: declare missing: nan to leave it out, give the label a "
    "fill_na, or drop these rows."
)


@dataclass(frozen=True)
class Fault:
    """Something that a value may not be: what it is called, the next step, and the rows where it is so."""

    what: str
    advice: str
    where: pl.Expr


@dataclass(frozen=True)
class Reading:
    """Expressions over the raw columns of a file."""

    column: Column  # the column that is read
    raw: pl.Expr  # what the file holds
    value: pl.Expr  # the value in the declared type, null where it is missing or cannot be read
    # Whether the row has no value and gets another; None if it gets none.
    missing: pl.Expr | None = None
    # What may be wrong, in the same order for every file of a dataset.
    faults: tuple[Fault, ...] = ()


def fault_text(reading: Reading, fault: Fault, where: str, first: str) -> str:
    """Return what to say of a fault, by the rows that have it and the first of them, "" if unknown."""
    about = f"{reading.column.described} is {fault.what} in {where}"
    place = f"; first in {first}" if first else ""
    return f"{about}{place}. {fault.advice}".rstrip()


def first_row(frame: pl.LazyFrame, where: pl.Expr, shown: pl.Expr | None = None) -> str:
    """Return the first row where an expression is true, with the value of another one, or ""."""
    frame = frame.select(here=where, shown=pl.lit(None) if shown is None else shown)
    first = frame.with_row_index("row").filter("here").head(1).collect(engine="streaming")
    if not first.height:
        return ""
    value = first["shown"].to_list()[0]
    return f"row {first['row'][0] + 1:,}" + ("" if value is None else f", value {short(value)}")


def readings(columns: Sequence[Column], types: Mapping[str, pl.DataType]) -> list[Reading]:
    """Return how each column, with no `type_problem`, is read from raw columns of these types."""
    direct = {c: _reading(c, types[c.origin]) for c in columns if not c.combines}
    labels = {c.name: reading for c, reading in direct.items() if c.kind == "label"}
    every = [
        _product(c, *(labels[name] for name in c.combines)) if c.combines else direct[c]
        for c in columns
    ]
    labels = {r.column.name: r for r in every if r.column.kind == "label"}
    return [_nested(r, labels[r.column.parent]) if r.column.parent else r for r in every]


def answers_as_numbers(text: pl.Expr) -> pl.Expr:
    """Return a label's text, in which true and yes are 1, false and no 0, in any case."""
    return text.str.replace(_YES, "1").str.replace(_NO, "0")


def finite(value: pl.Expr) -> pl.Expr:
    """Return whether a number is finite, also as float32; null where it is missing."""
    return value.abs() <= FLOAT32_MAX


def _reading(column: Column, have: pl.DataType) -> Reading:
    raw = pl.col(column.origin)
    if column.kind in CARRIED:
        return _kept(column, raw, have)
    if column.kind == "embedding":
        return _vectors(column, raw)
    if column.kind == "sequence":
        value = _tokens(column, raw, have)
    elif read_as_whole(column, have):
        return _written_whole(column, raw, have)
    elif column.dtype == "str":
        value = _text(column, raw, have)
    else:
        return _numbers(column, raw, have)
    return Reading(column, raw, value, value.is_null() if column.filled else None)


def _vectors(column: Column, raw: pl.Expr) -> Reading:
    vectors = raw.cast(pl.List(pl.Float32), strict=False)
    all_finite = vectors.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    bad = vectors.is_null() | (vectors.list.len() != column.dim) | ~all_finite
    what = f"no vector of {column.dim} finite numbers (pretrain_dim)"
    fault = Fault(what, "Every row needs its vector.", bad.fill_null(True))
    return Reading(column, raw, vectors, faults=(fault,))


def _tokens(column: Column, raw: pl.Expr, have: pl.DataType) -> pl.Expr:
    """Return a sequence's list of tokens; one that is empty or null in a list is the "" of a text."""
    if inner_type(have) is None:
        return _without_nulls(column, raw).cast(pl.String).str.split(column.splitter)
    tokens = raw.cast(pl.List(pl.String)).list.eval(pl.element().fill_null(""))
    return pl.when(tokens.list.len() == 0).then(pl.lit([""])).otherwise(tokens)


def _text(column: Column, raw: pl.Expr, have: pl.DataType) -> pl.Expr:
    return _without_nulls(column, raw) if have == pl.String else raw.cast(pl.String)


def _written_whole(column: Column, raw: pl.Expr, have: pl.DataType) -> Reading:
    """Return the text of whole numbers that are floats in a file."""
    whole = _numbers(replace(column, dtype="int"), raw, have)
    faults = tuple(replace(f, advice=_WAS_WHOLE) for f in whole.faults)
    return replace(whole, column=column, value=whole.value.cast(pl.String), faults=faults)


def _kept(column: Column, raw: pl.Expr, have: pl.DataType) -> Reading:
    """Return a column as it is; one of a CSV file in its declared type."""
    if column.dtype in ("int", "float"):
        value, bad, _ = _parsed(column, raw, have)
        advice = "Fix the value, or do not keep the column."
        return Reading(column, raw, value, faults=(Fault("not a number", advice, bad),))
    as_text = column.dtype or is_text(have)
    return Reading(column, raw, _text(column, raw, have) if as_text else raw)


def _without_nulls(column: Column, text: pl.Expr) -> pl.Expr:
    """Return a column's text, null where a field means that there is none."""
    if not column.null_values:
        return text
    return pl.when(~text.is_in(list(column.null_values))).then(text)


def _numbers(column: Column, raw: pl.Expr, have: pl.DataType) -> Reading:
    value, bad, nan = _parsed(column, raw, have)
    merged = _NEVER
    if column.dtype == "float":
        merged = value.abs() >= _FIRST_MERGED.get(have, 2.0**53)
    elif have in _FIRST_MERGED:
        merged = value.is_not_null() & (raw.abs() >= _FIRST_MERGED[have])
    missing = value.is_null() if column.filled else None
    absent = _NEVER
    if column.fill is not None:
        value = value.fill_null(column.fill)
    elif column.missing is not None and math.isnan(column.missing):
        value = value.fill_nan(None)
    elif column.missing is not None:
        # As the file holds it: in float32, 0.1 is another number, and 2^24 + 1 is 2^24.
        exact = pl.Float32() if have == pl.Float32 else pl.Float64()
        absent = (value.cast(exact) == pl.lit(column.missing, exact)).fill_null(False)
        value = pl.when(~absent).then(value)
    unfilled = value.is_null() & ~bad & ~absent
    faults = _number_faults(column, bad, nan, merged.fill_null(False), unfilled, ~finite(value))
    return Reading(column, raw, value, missing, faults)


def _parsed(column: Column, raw: pl.Expr, have: pl.DataType) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return numbers in the declared type, where they are not of it, and where they are NaN."""
    want = TYPES[column.dtype]
    if have == want:
        return raw, _NEVER, _NEVER
    if is_text(have):
        text = _without_nulls(column, raw.cast(pl.String).str.strip_chars())
        text = answers_as_numbers(text) if column.kind in ("label", *CARRIED) else text
        value = text.cast(want, strict=False)
        return value, value.is_null() & (text != "").fill_null(False), _NEVER
    value = raw.cast(want, strict=False)
    always_whole = have in (pl.Boolean, pl.Null) or have in WITHIN_INT64
    if column.dtype == "float" or always_whole:
        return value, _NEVER, _NEVER
    changed = value.is_null() | (value.cast(pl.Float64) != raw.cast(pl.Float64))
    bad = raw.is_not_null() & changed
    if not have.is_float():
        return value, bad, _NEVER
    nan = raw.is_nan().fill_null(False)
    return value, bad & ~nan, nan


def _number_faults(
    column: Column,
    bad: pl.Expr,
    nan: pl.Expr,
    merged: pl.Expr,
    unfilled: pl.Expr,
    not_finite: pl.Expr,
) -> tuple[Fault, ...]:
    label, whole = column.kind == "label", column.dtype == "int"
    what = "number" if label else "whole number (int)" if whole else "number (float)"
    if label:
        advice = "A label is a number: 1 and 0, or yes and no, true and false."
    elif column.raw_id:
        advice = "remap: false keeps integers of 64 bits. Leave it out and declare dtype: str."
    elif column.kind == "numeric":
        advice = "Fix the value" + (", or declare dtype: float." if whole else ".")
    else:
        advice = "Fix the value, or declare dtype: str."
    faults = [Fault(f"not a {what}", advice, bad)]
    if whole:
        faults.append(Fault("NaN", _NO_NAN, nan))
    if column.kind in (CATEGORICAL, META):
        advice = _NO_FLOATS + ("" if whole else " Declare dtype: int or str.")
        faults.append(Fault("a float, in which neighbouring ids become equal", advice, merged))
    if column.required:
        advice = _NO_LABEL if label else "Give the column a fill_na, or an id in every row."
        faults.append(Fault("missing", advice, unfilled))
    if not whole:
        advice = "Leave a missing value empty (null in parquet): it becomes fill_na."
        what = "NaN, infinite or beyond float32"
        faults.append(Fault(what, "" if label else advice, not_finite))
    return tuple(faults)


def _product(column: Column, first: Reading, second: Reading) -> Reading:
    """Return how a label is 1 where two others are; where one is 0, the other may be missing."""
    zero = (first.value == 0) | (second.value == 0)
    value = pl.when(zero).then(0.0).otherwise(first.value * second.value)
    return Reading(column, value, value)


def _nested(reading: Reading, parent: Reading) -> Reading:
    """Return the reading of a label that must be 0 where its parent is."""
    name = parent.column.name
    advice = (
        f'Fix these rows, or leave `parent` out. A label with preprocess: "both({name}, <label>)" is '
        f"always nested in {name!r}."
    )
    outside = (parent.value == 0) & (reading.value != 0) & finite(reading.value)
    fault = Fault(f"not 0 where its parent {name!r} is 0", advice, outside.fill_null(False))
    return replace(reading, faults=(*reading.faults, fault))
