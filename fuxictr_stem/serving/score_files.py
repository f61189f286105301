"""A file of scores that is written block by block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import polars as pl

from fuxictr_stem.errors import ConfigError, DataError, OutputError
from fuxictr_stem.training.predictions_file import parquet_blocks

ENDINGS = (".parquet", ".csv")


def check_place(path: Path, files: Sequence[Path] = (), endings: Sequence[str] = ENDINGS) -> None:
    """Reject a path with another ending, where no file can be, or where one of the input files is."""
    if path.suffix not in endings:
        raise ConfigError(f"--out {path}: must end with {' or '.join(endings)}.")
    for file in files:
        if os.path.exists(path) and os.path.samefile(path, file):
            raise ConfigError(
                f"--out {path} is {file}, one of the input files. Choose another name."
            )
    if path.is_dir():
        raise OutputError(f"--out {path} is a folder. Give the name of a file in it.")
    if not path.parent.is_dir():
        raise OutputError(f"--out {path}: there is no folder {path.parent}. Create it first.")


def score_blocks(path: Path) -> AbstractContextManager[Callable[[pl.DataFrame], None]]:
    """Open a file to append rows to, of the format that its name says."""
    return _csv(path) if path.suffix == ".csv" else parquet_blocks(path)


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    with path.open("wb") as file:

        def append(frame: pl.DataFrame) -> None:
            wide = [n for n, t in frame.schema.items() if t.is_nested() or t == pl.Binary]
            if wide:
                types = ", ".join(f"{name} ({frame.schema[name]})" for name in wide)
                raise DataError(f"--keep: a csv file cannot hold {types}. Write parquet.")
            frame.write_csv(file, include_header=not file.tell())

        yield append
