"""How frames of the same types are encoded: the queries, made once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.column_encoders import Encoder, plain
from fuxictr_stem.data.encoding.fill_steps import fill_steps
from fuxictr_stem.data.encoding.fitted import Fitted
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.frame_rows import frame_readings, raise_faults, unreadable
from fuxictr_stem.data.source.readings import Reading
from fuxictr_stem.data.source.split_files import HIDDEN, whole_number, written_numbers

_FAULTY = f"{HIDDEN}faulty"


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
                    raise_faults(frame, self.readings)
        except pl.exceptions.PolarsError as error:
            raise unreadable(error) from error
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
    readings = frame_readings(plan, types, names)
    whole = written_numbers(plan, [types])
    read = {r.column.name: r.value for r in readings}
    read.update((name, read[name].fill_null(math.nan)) for name in labels)
    for reading in readings:
        if reading.column.name in whole:
            read[whole_number(reading.column.name)] = reading.raw.cast(pl.Int64)
    steps = fill_steps(plan, read)
    encoders = fitted.column_encoders(features, 0, whole, steps.fills)
    encoders += [plain(name, np.dtype(np.float32)) for name in labels]
    queries = [e.query(steps.values[e.reads]).alias(e.name) for e in encoders]
    selects = [*steps.before, queries]
    if faults := [fault.where for reading in readings for fault in reading.faults]:
        selects[0] = [*selects[0], pl.any_horizontal(faults).any().alias(_FAULTY)]
    return Program(readings, selects, encoders)
