"""Rows of a CSV file with another number of fields than its header.

polars counts the fields of a row only when it reads all of them. Reading a choice of columns, a row
with a field too many shifts its values into the wrong columns, and a row that was cut off loses some.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from fuxictr_stem.data.utf8 import where_not_utf8

_BLOCK_BYTES = 1 << 22


def ragged_rows(path: Path, sep: str, fields: int) -> str | None:
    """Return what is wrong with the number of fields in the rows of a file, or None.

    Args:
        path: A CSV file with a header.
        sep: Its separator.
        fields: Number of fields of its header.
    """
    first: tuple[int | None, int] | None = None
    count = 0

    def note(row: Any) -> str:
        nonlocal count, first
        count += 1
        first = first or (row.number, row.actual_columns)
        return "skip"

    undecodable: list[str] = []
    try:
        # pyarrow decodes a row before `note` sees it, and prints a traceback where it cannot.
        with _unraisable_kept(undecodable):
            for _ in _open(path, sep, fields, note):
                pass
    except pa.ArrowInvalid:
        # What else is wrong with the file is told by the reading itself.
        return where_not_utf8(path) if undecodable else None
    if first is None:
        return None
    number, actual = first
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    place = "" if number is None else f" in row {number:,}, the header's being 1"
    return (
        f"{rows} another number of fields than the header's {fields}; first {actual} fields{place}. "
        f"Is a value with {sep!r} not quoted, or the file cut off?"
    )


def _open(
    path: Path, sep: str, fields: int, note: Callable[[Any], str]
) -> pacsv.CSVStreamingReader:
    return pacsv.open_csv(
        path,
        # One thread, so that a row knows its number.
        read_options=pacsv.ReadOptions(
            # The header counts as a row: it may have line ends within quotes.
            column_names=[str(i) for i in range(fields)],
            block_size=_BLOCK_BYTES,
            use_threads=False,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=sep, newlines_in_values=True, invalid_row_handler=note
        ),
        # One column is enough: the parser splits every row all the same.
        convert_options=pacsv.ConvertOptions(
            include_columns=["0"], column_types={"0": pa.binary()}
        ),
    )


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
