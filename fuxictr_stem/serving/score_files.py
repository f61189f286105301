"""A file of scores that is written block by block and appears whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from fuxictr_stem.errors import ConfigError, DataError, OutputError
from fuxictr_stem.runtime.outputs import remove_leftovers, replacing

ENDINGS = (".parquet", ".csv")


class Append(Protocol):
    """Takes the next rows of a file."""

    def __call__(self, frame: pl.DataFrame) -> None:
        """Append rows."""


class Unfinished(NamedTuple):
    """A file that is being written."""

    append: Append  # appends rows
    scratch: Path  # a folder for what is needed meanwhile, which goes when the file is finished


def check_place(path: Path, files: Sequence[Path] = (), endings: Sequence[str] = ENDINGS) -> None:
    """Reject a place where no file of these endings can be, or where one of the files that are read is.

    Raises:
        ConfigError: The name has another ending, or is that of a file that is read.
        OutputError: There is no such folder, or a folder is there.
    """
    if path.suffix not in endings:
        raise ConfigError(f"--out {path}: must end with {' or '.join(endings)}.")
    for file in files:
        if os.path.exists(path) and os.path.samefile(path, file):
            raise ConfigError(
                f"--out {path} is {file}, one of the files that are read. Choose another name."
            )
    if path.is_dir():
        raise OutputError(f"--out {path} is a folder. Give the name of a file in it.")
    if not path.parent.is_dir():
        raise OutputError(f"--out {path}: there is no folder {path.parent}. Make it first.")


@contextmanager
def unfinished(path: Path) -> Iterator[Unfinished]:
    """Yield a file to append rows to, which takes its place when all are written.

    What killed processes left next to it is removed.

    Raises:
        OutputError: It cannot be written; what was there before is unchanged.
    """
    remove_leftovers(path)
    writer = _csv if path.suffix == ".csv" else _parquet
    errors = pa.ArrowInvalid, pl.exceptions.PolarsError
    with replacing(path, *errors) as temporary, writer(temporary) as append:
        yield Unfinished(append, temporary.parent)


@contextmanager
def _csv(path: Path) -> Iterator[Append]:
    with path.open("wb") as file:

        def append(frame: pl.DataFrame) -> None:
            wide = [n for n, t in frame.schema.items() if t.is_nested() or t == pl.Binary]
            if wide:
                types = ", ".join(f"{name} ({frame.schema[name]})" for name in wide)
                raise DataError(f"--keep: a csv file cannot hold {types}. Write parquet.")
            frame.write_csv(file, include_header=not file.tell())

        yield append


@contextmanager
def _parquet(path: Path) -> Iterator[Append]:
    writer: parquet.ParquetWriter | None = None

    def append(frame: pl.DataFrame) -> None:
        nonlocal writer
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()
