"""What a value of a column may not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from fuxictr_stem.config.values import CATEGORICAL, META
from fuxictr_stem.data.source.parse_columns import Reading, finite

_NOT_FINITE = "NaN, infinite or beyond float32"
_MERGED = "a float in which neighbouring ids are one"
_NO_FLOATS = (
    "Store the column as integers or text; a float64 tells ids below 2^53 apart, a float32 2^24."
)
_NULLS = (
    "A whole number (int) is never NaN. Store missing values as null (polars: fill_nan(None), pandas: "
    "astype('Int64')); they become fill_na."
)


@dataclass(frozen=True)
class Fault:
    """Something that a value may not be: what it is called, and the rows where it is so."""

    reading: Reading
    what: str
    advice: str
    where: pl.Expr


def faults_of(readings: Sequence[Reading]) -> list[Fault]:
    """Return what may be wrong in a file, in the same order for every file of a dataset."""
    labels = {r.column.name: r for r in readings if r.column.kind == "label"}
    found = []
    for reading in readings:
        # The faults of a label that combines two others are theirs.
        if not reading.column.combines:
            found += _faults(reading)
        if reading.column.parent:
            found.append(_not_nested(reading, labels[reading.column.parent]))
    return found


def _not_nested(reading: Reading, parent: Reading) -> Fault:
    name = parent.column.name
    what = f"not 0 where its parent {name!r} is 0"
    advice = (
        f'Fix these rows, or leave `parent` out. A label with preprocess: "both({name}, <label>)" is '
        f"always nested in {name!r}."
    )
    outside = (parent.value == 0) & (reading.value != 0) & finite(reading.value)
    return Fault(reading, what, advice, outside.fill_null(False))


def _faults(reading: Reading) -> list[Fault]:
    column = reading.column
    bad = pl.lit(False) if reading.bad is None else reading.bad
    if column.kind == "embedding":
        what = f"no vector of {column.dim} finite numbers (pretrain_dim)"
        return [Fault(reading, what, "Every row needs its vector.", bad)]
    if column.dtype == "str":
        return []
    label = column.kind == "label"
    number = "whole number (int)" if column.dtype == "int" else "number (float)"
    advice = "A label is a number." if label else "Fix the value, or declare dtype: str."
    if column.kind == "numeric":
        advice = "Fix the value" + (", or declare dtype: float." if column.dtype == "int" else ".")
    if column.raw_id:
        advice = "remap: false keeps integers of 64 bits. Leave it out and declare dtype: str."
    faults = [Fault(reading, f"not a {'number' if label else number}", advice, bad)]
    if column.dtype == "int":
        nan = pl.lit(False) if reading.nan is None else reading.nan
        faults.append(Fault(reading, "NaN", _NULLS, nan))
    if column.kind in (CATEGORICAL, META):
        merged = pl.lit(False) if reading.inexact is None else reading.inexact
        advice = _NO_FLOATS + (" Declare dtype: int or str." if column.dtype == "float" else "")
        faults.append(Fault(reading, _MERGED, advice, merged.fill_null(False)))
    if column.required:
        advice = (
            "A missing label is no negative: declare missing: nan to leave it out, give the label a "
            "fill_na, or drop these rows."
            if label
            else "Give the column a fill_na, or an id in every row."
        )
        unfilled = reading.value.is_null() & ~bad
        if reading.absent is not None:
            unfilled &= ~reading.absent
        faults.append(Fault(reading, "missing", advice, unfilled))
    if column.dtype == "float":
        advice = (
            "" if label else "Leave a missing value empty (null in parquet): it becomes fill_na."
        )
        faults.append(Fault(reading, _NOT_FINITE, advice, ~finite(reading.value)))
    return faults
