"""How frames of the same types are checked, as files are, and encoded: the queries, made once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.data.encoding.column_encoders import Encoder
from fuxictr_stem.data.encoding.encoder_files import Fitted
from fuxictr_stem.data.encoding.fill_values import fill_steps
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import Plan, column_problems
from fuxictr_stem.data.source.readings import Reading, fault_text, first_row, readings
from fuxictr_stem.data.source.split_files import HIDDEN, framed, written_numbers
from fuxictr_stem.errors import DataError, first_line, raise_all, short
from fuxictr_stem.runtime.text_table import amount

_FAULTY = f"{HIDDEN}faulty"
_HEADING = "these rows cannot be encoded"


class Program(NamedTuple):
    """The encoding of frames whose columns have certain types."""

    readings: list[Reading]  # how the columns are read
    # What to select, one after the other; the first says whether there are faults.
    selects: list[list[pl.Expr]]
    encoders: list[Encoder]  # what then turns the columns into arrays

    def run(self, frame: pl.DataFrame) -> dict[str, Array]:
        """Encode a frame.

        Raises:
            DataError: It holds values that it may not; all problems are named.
        """
        try:
            block = frame
            for place, select in enumerate(self.selects):
                block = block.select(select)
                if not place and _FAULTY in block.columns and block[_FAULTY].any():
                    raise_all(DataError, _HEADING, _faults(frame, self.readings))
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{_HEADING}: {first_line(error)}") from error
        return {e.name: e.finish(block[e.name]) for e in self.encoders}


def program(
    fitted: Fitted,
    plan: Plan,
    features: Collection[str],
    labels: Collection[str],
    types: Mapping[str, pl.DataType],
    names: Collection[str],
) -> Program:
    """Return how to encode frames into some features and labels, which ``plan`` reads.

    ``types`` are those of the columns that are needed, as far as they are there; ``names`` are all
    columns.

    Raises:
        DataError: Columns are missing or of a type that cannot be read as in training; all are named.
    """
    raise_all(DataError, _HEADING, dict.fromkeys(column_problems(plan, types, names)))
    read_columns = readings(plan.columns, types)
    whole = written_numbers(plan, [types])
    steps = fill_steps(plan, framed(read_columns, whole))
    encoders = fitted.column_encoders(features, labels, 0, whole)
    queries = [e.query(steps.values[e.reads]).alias(e.name) for e in encoders]
    selects = [*steps.before, queries]
    if faults := [fault.where for reading in read_columns for fault in reading.faults]:
        selects[0] = [*selects[0], pl.any_horizontal(faults).any().alias(_FAULTY)]
    return Program(read_columns, selects, encoders)


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


def _faults(frame: pl.DataFrame, readings: Sequence[Reading]) -> Iterator[str]:
    """Yield each fault of a frame's values, with its first row."""
    for reading in readings:
        for fault in reading.faults:
            if count := frame.select(fault.where.sum()).item():
                first = first_row(frame.lazy(), fault.where, reading.raw)
                yield fault_text(reading, fault, amount(count, "row"), first)
