"""How the values of one column come from what a file holds, and which of them cannot.

A reading never raises on a value: what cannot be read becomes null and is flagged, so that one pass
over the data counts the bad values of all columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import polars as pl

from fuxictr_stem.config.values import CATEGORICAL, META
from fuxictr_stem.data.source.column_plan import Column

_FLOAT32_MAX = 3.4028234663852886e38
# The least whole number that may have been its neighbour before it became a float.
_FIRST_MERGED: dict[pl.DataType, float] = {pl.Float32(): 2.0**24, pl.Float64(): 2.0**53}


@dataclass(frozen=True)
class Reading:
    """Expressions over the raw columns of a file.

    Attributes:
        column: The column that is read.
        raw: What the file holds.
        value: The value in the declared type, null where it is missing or cannot be read.
        bad: Whether the file holds something that is not of the declared type; None if it cannot.
        absent: Whether the file holds the number that says that the row has no such label; None if no
            number says so. ``value`` is null there, too.
        inexact: Whether an id is a float so large that neighbouring ids are one; None if it cannot be.
        nan: Whether the file holds NaN where no number of the declared type can be; None if it cannot.
        missing: Whether the row has no value and gets another; None if it gets none.
    """

    column: Column
    raw: pl.Expr
    value: pl.Expr
    bad: pl.Expr | None = None
    absent: pl.Expr | None = None
    inexact: pl.Expr | None = None
    nan: pl.Expr | None = None
    missing: pl.Expr | None = None


def reading(column: Column, have: pl.DataType) -> Reading:
    """Return how a column is read from a raw column of the given type.

    Args:
        column: The column; ``type_problem`` has found nothing against it.
        have: The type of the raw column in the file.
    """
    found = _reading(column, have)
    if column.dtype == "float" and column.kind in (CATEGORICAL, META):
        found = replace(found, inexact=found.value.abs() >= _FIRST_MERGED.get(have, 2.0**53))
    if column.filled:
        found = replace(found, missing=found.value.is_null())
    if column.fill is not None:
        return replace(found, value=found.value.fill_null(column.fill))
    if column.missing is None:
        return found
    if math.isnan(column.missing):
        return replace(found, value=found.value.fill_nan(None))
    # As the file holds it: in float32, 0.1 is another number, and 2^24 + 1 is 2^24.
    exact = pl.Float32() if have == pl.Float32 else pl.Float64()
    same = found.value.cast(exact) == pl.lit(column.missing, exact)
    absent = same.fill_null(False)
    return replace(found, value=pl.when(~absent).then(found.value), absent=absent)


def combined(column: Column, one: Reading, other: Reading) -> Reading:
    """Return how a label that is 1 where two others both are comes from theirs: their product.

    Where one of them is 0, the other may be missing.

    Args:
        column: The label.
        one: The first of the two.
        other: The second.
    """
    zero = (one.value == 0) | (other.value == 0)
    value = pl.when(zero).then(0.0).otherwise(one.value * other.value)
    return Reading(column, value, value)


def _reading(column: Column, have: pl.DataType) -> Reading:
    raw = pl.col(column.origin)
    if column.kind == "embedding":
        vectors = raw.cast(pl.List(pl.Float32), strict=False)
        finite = vectors.list.eval(pl.element().is_finite().fill_null(False)).list.all()
        wrong = vectors.is_null() | (vectors.list.len() != column.dim) | ~finite
        return Reading(column, raw, vectors, wrong.fill_null(True))
    if column.kind == "sequence":
        return Reading(column, raw, _tokens(_without_nulls(column, raw), have, column.splitter))
    if column.dtype == "str":
        text = _without_nulls(column, raw) if have == pl.String else raw.cast(pl.String)
        return Reading(column, raw, text)
    want = pl.Int64 if column.dtype == "int" else pl.Float64
    if have == want:
        return Reading(column, raw, raw)
    if have == pl.String or isinstance(have, (pl.Categorical, pl.Enum)):
        text = _without_nulls(column, raw.cast(pl.String).str.strip_chars())
        value = text.cast(want, strict=False)
        return Reading(column, raw, value, value.is_null() & (text != "").fill_null(False))
    value = raw.cast(want, strict=False)
    if column.dtype == "float" or _always_int(have):
        return Reading(column, raw, value)
    changed = value.is_null() | (value.cast(pl.Float64) != raw.cast(pl.Float64))
    bad = raw.is_not_null() & changed
    if not have.is_float():
        return Reading(column, raw, value, bad)
    inexact = None
    if have in _FIRST_MERGED:
        inexact = value.is_not_null() & (raw.abs() >= _FIRST_MERGED[have])
    nan = raw.is_nan().fill_null(False)
    return Reading(column, raw, value, bad & ~nan, inexact=inexact, nan=nan)


def _without_nulls(column: Column, text: pl.Expr) -> pl.Expr:
    """Return a column's text, null where a field means that there is none."""
    if not column.null_values:
        return text
    return pl.when(~text.is_in(list(column.null_values))).then(text)


def _tokens(raw: pl.Expr, have: pl.DataType, splitter: str) -> pl.Expr:
    """Return a sequence's list of tokens; one that is empty or null in a list is the "" of a text."""
    if inner_type(have) is None:
        return raw.cast(pl.String).str.split(splitter)
    tokens = raw.cast(pl.List(pl.String)).list.eval(pl.element().fill_null(""))
    return pl.when(tokens.list.len() == 0).then(pl.lit([""])).otherwise(tokens)


def finite(value: pl.Expr) -> pl.Expr:
    """Return whether a number is finite, also as float32; null where it is missing."""
    return value.abs() <= _FLOAT32_MAX


def type_problem(column: Column, have: pl.DataType) -> str | None:
    """Return why a raw column of a parquet file cannot be read as declared, or None."""
    inner = inner_type(have)
    if column.kind == "embedding":
        if inner is None or not inner.is_numeric():
            return f"an embedding column holds lists of numbers, found {have}."
        return None
    if inner is not None:
        if column.kind != "sequence":
            return f"is declared {column.dtype}, found {have}; lists are for sequences."
        if inner_type(inner) is not None or not (inner == pl.Null or rendering(inner)):
            return f"a sequence holds lists of text or numbers, found {have}."
        return None
    if have == pl.Null:
        return None
    if not rendering(have):
        advice = " Store a number." if have == pl.Duration else ""
        return f"is declared {column.dtype}, found {have}.{advice}"
    if column.dtype != "str" and have.is_temporal():
        return f"is declared {column.dtype}, found {have}; declare str, or store a number."
    return None


def rendering(have: pl.DataType) -> str:
    """Return how a type, or a list's inner type, writes its values as text.

    Types of one rendering write every value alike. "text" may hold anything, and "" stands for a type
    that has no text.
    """
    have = inner_type(have) or have
    if have == pl.String or isinstance(have, (pl.Categorical, pl.Enum)):
        return "text"
    if have.is_integer() or (isinstance(have, pl.Decimal) and have.scale == 0):
        return "int"
    if isinstance(have, pl.Decimal):
        return f"Decimal of scale {have.scale}"
    # Datetimes of another unit or time zone are written differently, and so are some floats: 123456789
    # is 123456790.0 in a Float32.
    written = have == pl.Boolean or have.is_float() or have.is_temporal()
    return str(have) if written and have != pl.Duration else ""


def precision(have: pl.DataType) -> str:
    """Return how a type holds numbers: types of one precision, or with "whole", hold 0.1 alike."""
    if have == pl.Boolean or rendering(have) == "int":
        return "whole"
    return str(have) if have in (pl.Float16, pl.Float32) else "double"


def inner_type(have: pl.DataType) -> pl.DataType | None:
    """Return the type of a list's elements, or None for a type that is no list."""
    if not isinstance(have, (pl.List, pl.Array)):
        return None
    return have.inner() if isinstance(have.inner, type) else have.inner


def _always_int(have: pl.DataType) -> bool:
    return have == pl.Boolean or have == pl.Null or (have.is_integer() and have != pl.UInt64)
