"""Reading official raw files in blocks, plain or gzipped, with errors that name file and row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from fuxictr_stem.data.source.csv_shape import csv_shape
from fuxictr_stem.data.source.dialect import UNREADABLE, Dialect
from fuxictr_stem.errors import DataError, short, suggest
from fuxictr_stem.runtime.file_errors import check_access

_BLOCK_BYTES = 1 << 22
_MENDED = "The file is damaged or incomplete: compare its size with the source's, fetch it again."


def read_blocks(
    path: Path,
    integers: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    separator: str = ",",
) -> Iterator[pl.DataFrame]:
    """Yield the rows of a raw file in blocks of some megabytes, in file order.

    Columns in ``integers`` are int64 and never empty. All others keep their text as it stands in
    the file, so that an id like ``1.0`` stays ``1.0``; an empty field is a null.

    Args:
        path: The file; gzipped when it ends in .gz.
        integers: The columns that hold whole numbers in every row.
        columns: Only these columns, in this order.
        names: The columns' names when the file has no header; such a file has no quotes either.
        separator: What stands between two fields.

    Raises:
        DataError: The file is ragged, cut off, lacks a column or any row, holds text for a number, or
            quotes that readers take differently.
    """
    first = _first_line(path)
    lines = None
    if names is None:
        present = _names(path, first, separator)
        _check_header(path, present, [*integers, *(columns or [])])
        lines = _count_lines(path, Dialect(separator))
    else:
        present = list(names)
        found = first.count(separator) + 1
        if found != len(present):
            raise DataError(
                f"{path}, row 1: expected {len(present)} columns ({', '.join(present)}) with "
                f"{separator!r} between them, found {found}. Is this the official file?"
            )
    kept = list(columns) if columns is not None else present
    before = 0
    try:
        reader = pacsv.open_csv(
            path,
            # One thread parses as fast here and lets pyarrow say which row is at fault.
            read_options=pacsv.ReadOptions(
                column_names=names, block_size=_BLOCK_BYTES, use_threads=False
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=separator,
                quote_char='"' if names is None else False,
                ignore_empty_lines=False,
                newlines_in_values=names is None,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={
                    name: pa.int64() if name in integers else pa.string() for name in present
                },
                include_columns=kept,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            frame = pl.DataFrame(pl.from_arrow(batch))
            header_rows = 1 if names is None else 0
            _check_complete(path, frame, [c for c in kept if c in integers], before + header_rows)
            before += frame.height
            yield frame
    except (pa.ArrowException, OSError) as error:
        check_access(path, error)
        text = " ".join(str(error).split())[:300]
        raise DataError(f"{path}, after {before:,} good rows: {text}. {_MENDED}") from error
    if not before:
        raise DataError(f"{path}: the file has a header and no rows. {_MENDED}")
    if lines not in (None, before + 1):
        raise DataError(
            f"{path}: {lines:,} lines were counted and {before + 1:,} read. Is the file being written to?"
        )


class Rule(NamedTuple):
    """What every value of a column must be.

    Attributes:
        column: The column.
        words: The rule, to follow "must be".
        kept: True for a value that keeps it.
    """

    column: str
    words: str
    kept: pl.Expr


class Watch:
    """Looks through the blocks of one raw file, which has a header, for values that cannot be.

    Args:
        path: The file.
        rules: What its values must be.
    """

    def __init__(self, path: Path, rules: Sequence[Rule]) -> None:
        self._path = path
        self._rules = rules
        self._rows = 1
        self._first: dict[str, str] = {}
        self._count = {rule.column: 0 for rule in rules}

    def passes(self, frame: pl.DataFrame) -> bool:
        """Look at the next block; tell whether it and all before it keep the rules."""
        broken = frame.select((~r.kept).fill_null(True).alias(r.column) for r in self._rules)
        for column in broken:
            count = int(column.sum())
            if count and not self._count[column.name]:
                at = int(column.arg_max() or 0)
                value = short(frame[column.name][at])
                self._first[column.name] = f"{value} in row {self._rows + at + 1:,}"
            self._count[column.name] += count
        self._rows += frame.height
        return not self._first

    def refuse_any(self) -> None:
        """Raise one error for all values that break a rule, if there are any.

        Raises:
            DataError: A value breaks a rule.
        """
        problems = [
            f"{self._path}: {rule.column} must be {rule.words}; {self._count[rule.column]:,} of "
            f"{self._rows - 1:,} rows hold something else, first {self._first[rule.column]}."
            for rule in self._rules
            if rule.column in self._first
        ]
        if problems:
            raise DataError("\n".join([*problems, _MENDED]))


def _count_lines(path: Path, dialect: Dialect) -> int:
    try:
        return csv_shape(path, dialect).records
    except DataError as error:
        raise DataError(f"{path}, {error} {_MENDED}") from error
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {error}. {_MENDED}") from error


def _names(path: Path, line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise DataError(f"{path}: the first line names no columns ({error}). {_MENDED}") from error


def _first_line(path: Path) -> str:
    """Return the first line, without its line end."""
    try:
        # Detects gzip by the file's name, as the block reader does.
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(1 << 16)
    except (pa.ArrowException, OSError) as error:
        check_access(path, error)
        raise DataError(f"{path}: cannot be read: {error}. {_MENDED}") from error
    if not head:
        raise DataError(f"{path}: the file is empty. {_MENDED}")
    try:
        return head.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: the first line is not text ({error}). {_MENDED}") from error


def _check_header(path: Path, present: list[str], needed: Sequence[str]) -> None:
    missing = [name for name in dict.fromkeys(needed) if name not in present]
    if missing:
        raise DataError(
            f"{path}: the first line names the columns, and some are missing: "
            + " ".join(f"{name!r}.{suggest(name, present)}" for name in missing)
            + f" Found: {', '.join(present)}."
        )
    if len(set(present)) < len(present):
        twice = sorted({name for name in present if present.count(name) > 1})
        raise DataError(f"{path}: the first line names {', '.join(twice)} more than once.")


def _check_complete(path: Path, frame: pl.DataFrame, columns: list[str], before: int) -> None:
    for name in columns:
        nulls = frame[name].is_null()
        if nulls.any():
            row = before + int(nulls.arg_max() or 0) + 1
            raise DataError(f"{path}, row {row:,}: {name} is empty. {_MENDED}")
