"""The rows of a file of logs, read as training reads files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.dialect import UNREADABLE, Dialect, dialect_for, open_bytes
from fuxictr_stem.data.source.files import file_format, input_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.readings import answers_as_numbers
from fuxictr_stem.data.source.source_column import KEPT, Column, is_text
from fuxictr_stem.data.source.validate import check_source
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.frames.training_rows import column_names

_SEPARATORS = (",", ";", "\t", "|")
# By so many rows the separator is guessed.
_SEEN = 100


@dataclass(frozen=True)
class Logs:
    """The rows of a file, or of several."""

    data_format: str  # ``csv`` or ``parquet``
    sep: str  # what sets the fields of a CSV file apart
    frame: pl.LazyFrame  # the rows, to be read lazily; columns of a CSV file are text
    rows: int  # how many there are

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self.frame.collect_schema().names()


def read_logs(names: Sequence[str], sep: str | None, scratch: Path) -> Logs:
    """Read files, folders of parts and patterns, each row counted by other readers, too.

    ``sep`` is what separates the fields of CSV files, or None to guess it.

    Raises:
        DataError: There are none, or they have no one right reading.
    """
    files = input_files(names)
    empty = {"dataset_id": "logs", "feature_cols": [], "label_col": []}
    plan = plan_columns({**empty, "data_format": file_format(files)})
    plan = replace(plan, dialect=_dialect(files, plan.dialect, sep))
    header = open_source(plan, {"data": files}).parts["data"][0].header
    column_names("--data", pl.LazyFrame(schema=dict.fromkeys(header, pl.String())))
    dtype = "str" if plan.data_format == "csv" else ""
    plan = replace(plan, columns=tuple(Column(name, KEPT, dtype, name) for name in header))
    source, stats = check_source(open_source(plan, {"data": files}), scratch)
    frame = source.frame("data").select(header)
    return Logs(plan.data_format, plan.dialect.sep, frame, stats["data"].rows)


def with_numbers(logs: Logs, labels: Sequence[str]) -> Logs:
    """Return the rows with labels of yes and no, or true and false, as 1 and 0."""
    texts = [name for name, have in logs.frame.collect_schema().items() if is_text(have)]
    numbers = [
        answers_as_numbers(pl.col(name).cast(pl.String).str.strip_chars())
        for name in labels
        if name in texts
    ]
    return replace(logs, frame=logs.frame.with_columns(numbers))


def _dialect(paths: Sequence[Path], dialect: Dialect, sep: str | None) -> Dialect:
    """Return a dialect with the separator of some files; None guesses it."""
    if file_format(paths) != "csv":
        if sep is not None:
            raise ConfigError("--sep: is for csv files. Leave it out.")
        return dialect
    dialect = dialect_for(paths, dialect)
    guess = _guess_sep(paths[0], dialect) if dialect.sep == "," else dialect.sep
    return replace(dialect, sep=sep or guess)


def _guess_sep(path: Path, dialect: Dialect) -> str:
    """Return the separator that alone gives a table of several columns, else that of the dialect."""
    widths = {sep: _widths(path, replace(dialect, sep=sep)) for sep in _SEPARATORS}
    headers = [sep for sep, fields in widths.items() if fields and fields[0] > 1]
    # A row with another number of fields is reported later.
    fitting = [sep for sep in headers if len({*widths[sep]}) == 1] or headers
    return fitting[0] if len(fitting) == 1 else dialect.sep


def _widths(path: Path, dialect: Dialect) -> list[int]:
    """Return how many fields the first rows have; none where they cannot be read so."""
    try:
        with open_bytes(path) as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
            return [len(row) for row in islice(filter(None, dialect.rows(text)), _SEEN)]
    except (csv.Error, *UNREADABLE):
        return []
