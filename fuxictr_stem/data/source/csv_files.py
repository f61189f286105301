"""A CSV file, read once: its rows counted by two readers, the columns that are needed copied.

The text is passed over twice: by `csv_shape`, which finds the rows from the bytes alone, and by pyarrow,
which splits every row into its fields. (polars counts the fields of a row only when it reads all of them:
reading a choice of columns, a row with a field too many shifts its values into the wrong columns.) The
copy is an Arrow file, in which a column of numbers is one if all its values are; whatever comes later
reads the copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from fuxictr_stem.data.source.csv_shape import Shape, csv_shape
from fuxictr_stem.data.source.dialect import (
    UNREADABLE,
    Dialect,
    open_bytes,
    where_not_utf8,
)
from fuxictr_stem.errors import DataError, first_line
from fuxictr_stem.runtime.read_ahead import ahead
from fuxictr_stem.runtime.text_table import amount

_BLOCK_BYTES = 1 << 22
_LARGEST_BLOCK = (1 << 31) - 1

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")
_ARROW = {pl.String(): pa.string(), pl.Int64(): pa.int64(), pl.Float64(): pa.float64()}

Types = Mapping[str, pl.DataType]


def read_csv(
    path: Path, dialect: Dialect, header: Sequence[str], types: Types, copy: Path | None
) -> tuple[int, Types]:
    """Count the rows of a file and copy columns of it, in bounded memory.

    An empty field is a null; one that is quoted is an empty text, as polars reads them.

    ``types`` are the columns that are needed, and their types if all of their values are of these;
    ``copy`` is the Arrow file to write, or None to check only, in which case the file must be one that
    polars reads as all other readers do. Returns the number of rows, and the columns' types in the copy.

    Raises:
        DataError: The file has no one right reading, a row with another number of fields than the header,
            or bytes that are not UTF-8.
        OSError: The copy cannot be written.
    """
    try:
        shape = csv_shape(path, dialect)
    except UNREADABLE as error:
        raise DataError(f"cannot be read: {error}.") from error
    # One column is enough to count by: the parser splits every row all the same.
    types = types or {header[0]: pl.String()}
    if copy is None:
        types = dict.fromkeys(types, pl.String())
    text = _Text(path, dialect, header, shape.longest)
    try:
        rows = text.copied(types, copy)
    except pl.exceptions.PolarsError:
        # Which value is no number is found later, in the text.
        types = dict.fromkeys(types, pl.String())
        rows = text.copied(types, copy)
    if rows != shape.records - 1:
        raise DataError(
            f"{shape.records - 1:,} rows are found by its line ends and quotes, {rows:,} by "
            "another reader. Write the file again, with every value quoted, or as parquet."
        )
    if copy is None and (special := _special(path, dialect, header, shape)):
        raise DataError(
            f"{special}: FuxiCTR's own preprocessing cannot read that. Use --loader h5."
        )
    return rows, types


def _special(path: Path, dialect: Dialect, header: Sequence[str], shape: Shape) -> str:
    """Return why polars may read a file in another way than other readers do, or ""."""
    if path.suffix == ".gz":
        return "is gzipped"
    in_names = any(c in "".join(header) for c in (dialect.quote or "\n", "\n", "\r"))
    return shape.special or ("has a quote or a line end in a column's name" if in_names else "")


class _Text(NamedTuple):
    """The text of a CSV file."""

    path: Path
    dialect: Dialect
    header: Sequence[str]
    longest: int  # bytes of its longest row

    def copied(self, types: Types, copy: Path | None) -> int:
        """Copy columns and return the number of rows; raise polars' error at a number that is none."""
        schema = pa.schema([(name, _ARROW[dtype]) for name, dtype in types.items()])
        bad_rows = _BadRows()
        rows = 0
        try:
            with (
                _nothing_printed(),
                pa.OSFile(str(copy), "wb") if copy else nullcontext() as file,
                pa.ipc.new_file(file, schema, options=_LZ4) if copy else nullcontext() as writer,
            ):
                batches = ahead(self.batches(list(types), bad_rows))
                for number, batch in enumerate(batches):
                    batch = batch if number else batch.slice(1)  # without the header
                    rows += len(batch)
                    if writer:
                        writer.write_batch(_as_numbers(batch, types, schema))
        except pa.ArrowInvalid as error:
            reason = f"cannot be read as csv: {first_line(error)}"
            raise DataError(where_not_utf8(self.path) or reason) from error
        bad_rows.check(len(self.header), self.dialect.sep)
        return rows

    def batches(
        self, columns: list[str], bad_rows: Callable[[Any], str]
    ) -> Generator[pa.RecordBatch]:
        """Yield columns of all rows as text, the header, which may have line ends, as the first of them."""
        read_options = pacsv.ReadOptions(
            column_names=list(self.header),
            block_size=min(max(_BLOCK_BYTES, 2 * self.longest), _LARGEST_BLOCK),
            # One thread, so that a row knows its number.
            use_threads=False,
        )
        parse_options = pacsv.ParseOptions(
            delimiter=self.dialect.sep,
            quote_char=self.dialect.quote or False,
            escape_char=self.dialect.escape or False,
            newlines_in_values=True,
            invalid_row_handler=bad_rows,
        )
        convert_options = pacsv.ConvertOptions(
            include_columns=columns,
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        with (
            open_bytes(self.path) as file,
            pacsv.open_csv(file, read_options, parse_options, convert_options) as reader,
        ):
            yield from reader


def _as_numbers(batch: pa.RecordBatch, types: Types, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with its numbers parsed; blanks around them do not matter."""
    numbers = pl.Schema({name: dtype for name, dtype in types.items() if dtype != pl.String})
    if not numbers:
        return batch
    text = pl.DataFrame(pl.from_arrow(batch.select(list(numbers))))
    frame = text.cast(numbers, strict=False)
    if not frame.null_count().equals(text.null_count()):
        text = text.with_columns(pl.all().str.strip_chars())
        frame = text.select(pl.when(pl.all() != "").then(pl.all())).cast(numbers)
    arrays = [frame[name].to_arrow() if name in numbers else batch.column(name) for name in types]
    return pa.record_batch(arrays, schema=schema)


class _BadRows:
    """Counts the rows that pyarrow leaves out, since they have more or fewer fields than the header."""

    count = 0
    first: tuple[int | None, int] = (None, 0)  # its number, and how many fields it has

    def __call__(self, row: Any) -> str:
        if not self.count:
            self.first = row.number, row.actual_columns
        self.count += 1
        return "skip"

    def check(self, fields: int, sep: str) -> None:
        """Raise a DataError that names the first of them, if there are any."""
        if not self.count:
            return
        number, actual = self.first
        rows = f"{amount(self.count, 'row')} {'has' if self.count == 1 else 'have'}"
        place = "the first of them" if number is None else f"row {number:,} (the header is row 1)"
        raise DataError(
            f"{rows} another number of fields than the header's {fields}: {place} has {actual}. Is "
            f"a value with {sep!r} not quoted, or is the file cut off?"
        )


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Keep pyarrow from printing a traceback where it cannot decode a row for `_BadRows`."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda error: None
    try:
        yield
    finally:
        sys.unraisablehook = before
