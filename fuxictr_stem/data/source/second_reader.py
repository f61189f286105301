"""A second reader of CSV files, which counts rows and the fields of each: pyarrow.

polars counts the fields of a row only when it reads all of them. Reading a choice of columns, a row
with a field too many shifts its values into the wrong columns, and a row that was cut off loses some.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from fuxictr_stem.data.source.dialect import Dialect, open_bytes
from fuxictr_stem.data.source.utf8 import where_not_utf8
from fuxictr_stem.errors import DataError

_BLOCK_BYTES = 1 << 22
_LARGEST_BLOCK = (1 << 31) - 1


def count_rows(path: Path, dialect: Dialect, fields: int, longest: int) -> int:
    """Return the number of rows of a file, without its header and blank lines.

    Args:
        path: A CSV file with a header.
        dialect: Its special characters.
        fields: Number of fields of its header.
        longest: Bytes of its longest row.

    Raises:
        DataError: A row has another number of fields, or cannot be read.
    """
    first: tuple[int | None, int] | None = None
    count = 0

    def note(row: Any) -> str:
        nonlocal count, first
        count += 1
        first = first or (row.number, row.actual_columns)
        return "skip"

    undecodable: list[str] = []
    # One column is enough: the parser splits every row all the same.
    convert = pacsv.ConvertOptions(include_columns=["0"], column_types={"0": pa.binary()})
    names = [str(i) for i in range(fields)]
    try:
        # pyarrow decodes a row before `note` sees it, and prints a traceback where it cannot.
        with _unraisable_kept(undecodable):
            rows = sum(len(b) for b in _open(path, dialect, names, longest, convert, note))
    except pa.ArrowInvalid as error:
        raise DataError(where_not_utf8(path) or _unreadable(error)) from error
    if first is None:
        return rows - 1
    number, actual = first
    many = "1 row has" if count == 1 else f"{count:,} rows have"
    place = "the first of them" if number is None else f"row {number:,} (the header is row 1)"
    raise DataError(
        f"{many} another number of fields than the header's {fields}: {place} has {actual}. "
        f"Is a value with {dialect.sep!r} not quoted, or the file cut off?"
    )


def copy_as_text(
    path: Path,
    dialect: Dialect,
    header: Sequence[str],
    columns: Sequence[str],
    longest: int,
    target: Path,
) -> None:
    """Write columns of a CSV file as text into a parquet file, in bounded memory.

    An empty field is a null; one that is quoted is an empty text, as polars reads them.

    Args:
        path: A CSV file whose rows `count_rows` has found right.
        dialect: Its special characters.
        header: The names in its header.
        columns: Those to copy.
        longest: Bytes of its longest row.
        target: The parquet file.

    Raises:
        DataError: A value is not UTF-8.
        OSError: The copy cannot be written.
    """
    schema = pa.schema([(name, pa.string()) for name in columns])
    convert = pacsv.ConvertOptions(
        include_columns=list(columns),
        column_types=schema,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    rows = 0
    try:
        with pq.ParquetWriter(target, schema, compression="lz4", use_dictionary=False) as writer:
            for batch in _open(path, dialect, list(header), longest, convert):
                writer.write_batch(batch if rows else batch.slice(1))
                rows += len(batch)
    except pa.ArrowInvalid as error:
        raise DataError(where_not_utf8(path) or _unreadable(error)) from error


def _open(
    path: Path,
    dialect: Dialect,
    names: list[str],
    longest: int,
    convert: pacsv.ConvertOptions,
    note: Callable[[Any], str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield all rows, the header as the first of them: it may have line ends within quotes."""
    with (
        open_bytes(path) as file,
        pacsv.open_csv(
            file,
            # One thread, so that a row knows its number.
            read_options=pacsv.ReadOptions(
                column_names=names,
                block_size=min(max(_BLOCK_BYTES, 2 * longest), _LARGEST_BLOCK),
                use_threads=False,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=dialect.sep,
                quote_char=dialect.quote or False,
                escape_char=dialect.escape or False,
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            convert_options=convert,
        ) as reader,
    ):
        yield from reader


def _unreadable(error: Exception) -> str:
    return f"cannot be read as csv: {str(error).splitlines()[0]}"


@contextmanager
def _unraisable_kept(found: list[str]) -> Iterator[None]:
    """Collect what Python would print of errors that it cannot raise."""
    before = sys.unraisablehook
    # As text: to keep the error itself could keep what it is about alive.
    sys.unraisablehook = lambda error: found.append(str(error.exc_value))
    try:
        yield
    finally:
        sys.unraisablehook = before
