"""How the columns of a frame in memory are read: checked as those of files are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.columns import type_problem
from fuxictr_stem.data.source.readings import Reading, fault_text, readings
from fuxictr_stem.errors import DataError, first_line, raise_all, short, suggest
from fuxictr_stem.runtime.text_table import amount

Types = Mapping[str, pl.DataType]
_HEADING = "these rows cannot be encoded"


def frame_readings(plan: Plan, types: Types, names: Collection[str]) -> list[Reading]:
    """Return how a plan's columns come from those of a frame, of these types and names.

    Raises:
        DataError: Columns are missing or of a type that cannot be read as in training; all are named.
    """
    problems = []
    for column in plan.in_files:
        have = types.get(column.origin)
        if have is None:
            what = column.name if column.name != column.origin else ""
            use = f" (read by {what!r})" if what else ""
            near = suggest(column.origin, names)
            problems.append(f"there is no column {column.origin!r}{use}.{near}")
        elif problem := type_problem(column, have):
            problems.append(f"{column.described}: {problem}")
    if problems:
        raise_all(DataError, _HEADING, list(dict.fromkeys(problems)))
    return readings(plan.columns, types)


def raise_faults(frame: pl.DataFrame, readings: Sequence[Reading]) -> None:
    """Raise a DataError that names each fault of a frame's values, and its first row, if there is any."""
    problems = []
    for reading in readings:
        for fault in reading.faults:
            rows = (
                frame.select(here=fault.where, shown=reading.raw)
                .with_row_index("row")
                .filter("here")
            )
            if rows.height:
                first = f"row {rows['row'][0] + 1:,}, value {short(rows['shown'].to_list()[0])}"
                problems.append(fault_text(reading, fault, amount(rows.height, "row"), first))
    raise_all(DataError, _HEADING, problems)


def row_frame(values: Mapping[str, Any], columns: Collection[str]) -> pl.DataFrame:
    """Return those of some columns that a row has as a frame.

    Raises:
        DataError: A value cannot be that of a column; all are named.
    """
    series, problems = [], []
    for name in columns:
        if name in values:
            try:
                series.append(pl.Series(name, [values[name]]))
            except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
                problems.append(f"column {name!r} cannot hold {short(values[name])}.")
    raise_all(DataError, _HEADING, problems)
    return pl.DataFrame(series)


def unreadable(error: pl.exceptions.PolarsError) -> DataError:
    """Return the error to raise where polars cannot compute the columns, such as in a function of them."""
    return DataError(f"{_HEADING}: {first_line(error)}")
