"""Rows as a program has them, for a `Scorer`: frames, Arrow tables, dicts of columns, and rows as dicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from fuxictr_stem.errors import DataError, first_line, raise_all, short, suggest
from fuxictr_stem.serving.rows_to_score import as_polars, column_names, is_pandas, with_names

RawRows: TypeAlias = Any
"""A frame of polars or pandas, an Arrow table, a dict of columns, a row as a dict, or a list of rows."""

_HEADING = "these rows cannot be read"


def single_row(rows: RawRows, needed: Sequence[str], lists: Collection[str]) -> Any:
    """Return rows as a mapping of values if they are a single row as a dict; else None.

    A dict is a row if the first of its needed columns that cannot hold ``lists`` has one value.
    """
    if isinstance(rows, Mapping):
        for name in needed:
            if name in rows and name not in lists:
                return None if _is_column(rows[name]) else rows
    elif isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], Mapping):
        return rows[0]
    return None


def as_frame(rows: RawRows, needed: Sequence[str], floats: Collection[str]) -> pl.DataFrame:
    """Return those of the needed columns that some rows have.

    Columns of ``floats`` may hold whole numbers, as in JSON. A DataError names all problems: they are not
    rows, a column mixes kinds of values, columns differ in length, or rows in their columns.

    Example:
        >>> rows = [{"item": "i3", "age": 31}, {"item": "i4", "age": None}]
        >>> as_frame(rows, needed=["item", "age"], floats=["age"]).rows()
        [('i3', 31.0), ('i4', None)]
    """
    if isinstance(rows, Mapping):
        columns = {name: rows[name] for name in needed if name in rows}
        return with_names(_frame(columns, floats), needed, rows)
    if isinstance(rows, (list, tuple)):
        columns = _columns(rows, needed)
        return with_names(_frame(columns, floats), needed, rows[0] if rows else ())
    if isinstance(rows, (pl.DataFrame, pl.LazyFrame)) or is_pandas(rows):
        names = column_names(rows)
        frame = as_polars(rows, [name for name in needed if name in names])
        return with_names(frame, needed, names)
    if hasattr(rows, "__arrow_c_stream__"):
        return as_frame(pl.DataFrame(rows), needed, floats)
    raise DataError(
        "rows must be a polars or pandas frame, an Arrow table, a dict of columns, a row as a dict, or "
        f"a list of rows, found {short(type(rows).__name__)}."
    )


def _is_column(values: Any) -> bool:
    return hasattr(values, "__len__") and not isinstance(values, (str, bytes, Mapping))


def _columns(rows: Sequence[Any], needed: Sequence[str]) -> dict[str, list[Any]]:
    """Return rows as columns; one that no row has is left out."""
    problems = [
        f"row {number:,} must be a dict, found {short(row)}."
        for number, row in enumerate(rows, 1)
        if not isinstance(row, Mapping)
    ]
    raise_all(DataError, _HEADING, problems)
    columns = {}
    for name in needed:
        lacking = [number for number, row in enumerate(rows, 1) if name not in row]
        if not lacking:
            columns[name] = [row[name] for row in rows]
        elif len(lacking) < len(rows):
            near = suggest(name, rows[lacking[0] - 1])
            problems.append(
                f"row {lacking[0]:,} lacks {name!r}, others have it.{near} Write None for a missing value."
            )
    raise_all(DataError, _HEADING, problems)
    return columns


def _frame(columns: Mapping[str, Any], floats: Collection[str]) -> pl.DataFrame:
    """Return columns of any kind as a frame."""
    series, problems = [], []
    for name, values in columns.items():
        if not _is_column(values):
            problems.append(
                f"column {name!r} must be a list, like the others, found {short(values)}."
            )
            continue
        try:
            series.append(_series(name, values, name in floats))
        except Exception as error:  # those of polars, NumPy and pyarrow have no common base
            problems.append(f"column {name!r} mixes kinds of values: {first_line(error)}.")
    lengths = {column.name: len(column) for column in series}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
        problems.append(f"columns differ in their number of values: {shown}.")
    raise_all(DataError, _HEADING, problems)
    return pl.DataFrame(series)


def _series(name: str, values: Any, is_float: bool) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        values = values.tolist()
    if is_float and isinstance(values, (list, tuple)) and all(map(_is_number, values)):
        return pl.Series(name, values, dtype=pl.Float64, strict=False)
    return pl.Series(name, values)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))
