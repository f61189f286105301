"""Rows of files into arrays, block by block, without Python for any row.

Those of a dataset are counted on the way; those of other files are read and checked as training's were.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.column_encoders import Encoder
from fuxictr_stem.data.encoding.fill_values import Fill, filled_frame
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS
from fuxictr_stem.data.source.dialect import dialect_for
from fuxictr_stem.data.source.files import file_format
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.source_column import KEPT, Column
from fuxictr_stem.data.source.split_files import HIDDEN, Source, missing_flag
from fuxictr_stem.data.source.validate import check_source, explained
from fuxictr_stem.runtime.outputs import remove_leftovers
from fuxictr_stem.runtime.whole_folder import fresh_folder

_BLOCK_BYTES = 1 << 29
_FIRST_ROUNDED = 2.0**24
_ROWS = "data"
# Whether a process is alive is known of this machine's alone.
_COPIES = f"fuxictr_stem-rows-{platform.node()}"


@dataclass
class Tally:
    """Counts of one column in one split, gathered block by block."""

    values: int = 0  # ids; of a sequence without its padding
    unknown: int | None = None  # how many of these are the unknown id; None where no id is
    missing: int = 0  # rows without a value
    clashes: int = 0  # rows that hold what missing ones become
    rounded: int = 0  # numbers of at least 2^24 that float32 rounds
    example: tuple[Any, ...] = ()  # the first of these, and what it becomes
    # Count, mean and sum of squared differences from the mean of a feature's numbers.
    numbers: tuple[int, float, float] = (0, 0.0, 0.0)

    def count(self, column: Encoder, values: pl.Series, array: Array) -> None:
        """Count a block of a column: its values before, and the array that they became."""
        if column.unknown is not None:
            self.count_ids(array, column.unknown)
        elif column.as_it_is:
            self.count_rounded(values.to_numpy(), array)
        if column.measured:
            self.count_numbers(array)

    def count_ids(self, ids: Array, unknown: int) -> None:
        """Count a block's ids, (rows,) or (rows, tokens); a token's 0 is padding."""
        self.values += ids.size if ids.ndim == 1 else int(np.count_nonzero(ids))
        self.unknown = (self.unknown or 0) + int(np.count_nonzero(ids == unknown))

    def count_rounded(self, numbers: Array, stored: Array) -> None:
        """Compare a block's numbers with the float32 that they became, (rows,) both."""
        large = np.abs(numbers) >= _FIRST_ROUNDED
        if large.any():
            places = np.flatnonzero(large & (stored != numbers))
            if len(places) and not self.rounded:
                self.example = (numbers[places[0]].item(), float(stored[places[0]]))
            self.rounded += len(places)

    def count_numbers(self, numbers: Array) -> None:
        """Add a block's numbers, of any shape, to mean and variance (Chan et al., 1979)."""
        if numbers.size:
            apart = numbers.astype(np.float64).ravel()
            mean = float(apart.mean())
            apart -= mean
            self._join(numbers.size, mean, float(apart @ apart))

    def add(self, other: Tally) -> None:
        """Add the counts of later rows."""
        for name in ("values", "missing", "clashes", "rounded"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.unknown is not None:
            self.unknown = (self.unknown or 0) + other.unknown
        self.example = self.example or other.example
        if other.numbers[0]:
            self._join(*other.numbers)

    def _join(self, more: int, its_mean: float, its_squares: float) -> None:
        count, mean, squares = self.numbers
        total, step = count + more, its_mean - mean
        squares += its_squares + step**2 * count * more / total
        self.numbers = total, mean + step * more / total, squares


def rows_of_block(columns: Sequence[Encoder], most: int) -> int:
    """Return how many rows of arrays there may be in memory at a time, fewer where they are wide."""
    row_bytes = sum(column.dtype.itemsize * max(column.width, 1) for column in columns)
    return min(most, 1 << max((_BLOCK_BYTES // max(row_bytes, 1)).bit_length() - 1, 0))


def encoded(
    source: Source,
    frame: pl.LazyFrame,
    columns: Sequence[Encoder],
    block_rows: int = BLOCK_ROWS,
    fills: Sequence[Fill] = (),
    tallies: Mapping[str, Tally] | None = None,
    kept: Sequence[str] = (),
) -> Iterator[tuple[dict[str, Array], pl.DataFrame]]:
    """Encode the rows of a split, whose missing values are filled, in their order.

    At most ``block_rows`` are encoded at a time, fewer where they are wide, which bounds the
    memory. The ``tallies`` get the split's counts, also of ``fills``; ``kept`` are more columns of
    the frame.

    Yields:
        A block's arrays by column, (rows,) or (rows, width), and a frame that has the kept columns.

    Raises:
        DataError: A file cannot be read, or a scaled number does not fit float32.
    """
    block_rows = rows_of_block(columns, block_rows)
    tallies = tallies or {}
    flags = [(fill, pl.col(missing_flag(fill.source))) for fill in fills]
    query = frame.select(
        *(column.query(pl.col(column.reads)).alias(column.name) for column in columns),
        *(pl.col(name) for name in kept),
        *(missing.alias(f"{i} missing") for i, (_, missing) in enumerate(flags)),
        *((f.clashes & ~missing).alias(f"{i} clashes") for i, (f, missing) in enumerate(flags)),
    )
    with explained(source):
        blocks = query.collect_batches(
            chunk_size=block_rows, maintain_order=True, engine="streaming"
        )
    while True:
        with explained(source):
            block = next(blocks, None)
        if block is None:
            return
        arrays = {column.name: column.finish(block[column.name]) for column in columns}
        for column in columns if tallies else ():
            tallies[column.name].count(column, block[column.name], arrays[column.name])
        for i, fill in enumerate(fills):
            tallies[fill.name].missing += int(block[f"{i} missing"].sum())
            tallies[fill.name].clashes += int(block[f"{i} clashes"].sum())
        yield arrays, block


class Block(NamedTuple):
    """Some rows of files."""

    arrays: dict[str, Array]  # by feature: (rows,) or (rows, width)
    labels: dict[str, Array]  # by label: (rows,) float32, NaN where a row has none
    kept: pl.DataFrame  # the columns that are carried along


def read_blocks(
    encoder: RowEncoder,
    files: Sequence[Path],
    features: Collection[str],
    labels: Collection[str] = (),
    keep: Collection[str] = (),
    block_rows: int = BLOCK_ROWS,
    counted: Callable[[int], object] = lambda rows: None,
    scratch: Path | None = None,
) -> Iterator[Block]:
    """Read and encode the rows of CSV or parquet files, in their order and in bounded memory.

    The needed columns of CSV files are copied into a temporary folder first, in ``scratch`` or the
    system's; what a killed process has left of one is removed. Columns of a parquet file to ``keep`` have
    its types; those of a CSV file have their declared type, and are text where none is declared.
    ``counted`` is called with the number of rows before the first of them.

    Raises:
        DataError: The files are not what training's were; all problems are named.
    """
    fitted, plan = encoder.fitted, encoder.plan(features, labels)
    data_format, nulls = file_format(files), plan.null_values
    declared = {c.origin: c.dtype for c in fitted.plan.in_files}
    kept = []
    for name in dict.fromkeys(keep):
        dtype = declared.get(name, "str") if data_format == "csv" else ""
        kept.append(Column(f"{HIDDEN}{KEPT} {name}", KEPT, dtype, name, null_values=nulls))
    dialect = dialect_for(files, plan.dialect)
    columns = (*plan.columns, *kept)
    plan = replace(plan, data_format=data_format, dialect=dialect, columns=columns)
    place = (Path(gettempdir()) if scratch is None else scratch) / _COPIES
    remove_leftovers(place)
    with fresh_folder(place) as copies:
        # The system's temporary folder is everybody's.
        copies.chmod(0o700)
        source, stats = check_source(open_source(plan, {_ROWS: list(files)}), copies)
        rows, whole = stats[_ROWS].rows, source.whole_numbers()
        counted(rows)
        frame = filled_frame(plan, source.frame(_ROWS))
        encoders = fitted.column_encoders(features, labels, rows, whole)
        names = [column.name for column in kept]
        for arrays, block in encoded(source, frame, encoders, block_rows, kept=names):
            yield Block(
                {name: arrays[name] for name in features},
                {name: arrays[name] for name in labels},
                block.select(pl.col(c.name).alias(c.origin) for c in kept),
            )
