"""Rows to score: frames of pandas and polars, and files, as blocks of encoded columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.encode import Block, read_blocks
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.source.files import input_files
from fuxictr_stem.errors import DataError, first_line, raise_all, short, suggest

BLOCK_ROWS = 1 << 16
"""The most rows of files that are encoded at a time."""

Frame: TypeAlias = Any
"""A frame of pandas or polars, eager or lazy."""

Data: TypeAlias = Any
"""A `Frame`, or a path or pattern, or a list of them."""


class Wanted(NamedTuple):
    """What is read of some rows."""

    features: Sequence[str]  # the features to encode
    labels: Sequence[str] = ()  # the labels to read
    keep: Sequence[str] = ()  # columns to keep, unchanged


Blocks: TypeAlias = Callable[[Callable[[int], object]], Iterator[Block]]
"""Reads rows in their order, at most `BLOCK_ROWS` in a block; is given what to call with their number."""


def open_rows(encoder: RowEncoder, data: Data, wanted: Wanted) -> Blocks:
    """Open some rows to read.

    A DataError says that they are no frame or file, that there are none, or that a column is missing; all
    problems of a frame's columns are named when it is read.
    """
    files = files_of(data)
    if files is not None:
        return file_rows(encoder, files, wanted)
    columns = column_names(data)
    needed = encoder.columns_needed(wanted.features, wanted.labels)
    absent = [name for name in wanted.keep if name not in columns]
    if absent:
        texts = [f"there is no column {name!r}.{suggest(name, columns)}" for name in absent]
        raise_all(DataError, "these rows cannot be read", texts)
    names = [n for n in dict.fromkeys([*needed, *wanted.keep]) if n in columns]
    frame = with_names(as_polars(data, names), needed, columns)
    if not frame.height:
        # The columns are checked first.
        encoder.encode(frame, wanted.features, wanted.labels)
        raise DataError("There are no rows.")
    return partial(_frame_blocks, encoder, frame, wanted)


def files_of(data: Data) -> list[Path] | None:
    """Return the files that a path, a pattern or a list of them means; None for other data."""
    paths = [data] if isinstance(data, (str, os.PathLike)) else data
    if isinstance(paths, (list, tuple)) and all(isinstance(p, (str, os.PathLike)) for p in paths):
        return input_files([os.fspath(path) for path in paths])
    return None


def file_rows(
    encoder: RowEncoder, files: Sequence[Path], wanted: Wanted, scratch: Path | None = None
) -> Blocks:
    """Open the rows of files; temporary copies of them are in ``scratch``, or the system's folder."""
    return partial(read_blocks, encoder, files, *wanted, BLOCK_ROWS, scratch=scratch)


def _frame_blocks(
    encoder: RowEncoder, frame: pl.DataFrame, wanted: Wanted, counted: Callable[[int], object]
) -> Iterator[Block]:
    """Yield the rows of a frame, which are encoded together, so that a message has all problems."""
    counted(frame.height)
    arrays = encoder.encode(frame, wanted.features, wanted.labels)
    labels = {name: arrays.pop(name) for name in wanted.labels}
    whole = Block(arrays, labels, frame.select(wanted.keep))
    for start in range(0, frame.height, BLOCK_ROWS):
        yield _part_of(whole, start, start + BLOCK_ROWS)


def aligned(blocks: Iterator[Block], batch_size: int) -> Generator[Block]:
    """Recut blocks, so that all but the last hold whole batches, wherever files end."""
    rest: list[Block] = []
    waiting = 0
    for block in chain(blocks, [None]):
        if block is not None:
            rest.append(block)
            waiting += rows_of(block)
        whole = waiting - waiting % batch_size if block is not None else waiting
        if whole:
            joined = _joined(rest)
            yield _part_of(joined, 0, whole)
            rest = [_part_of(joined, whole, waiting)] if whole < waiting else []
            waiting -= whole


def rows_of(block: Block) -> int:
    """Return the number of rows of a block."""
    return len(next(iter(block.arrays.values())))


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    arrays, labels = (
        {name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]}
        for parts in ([b.arrays for b in blocks], [b.labels for b in blocks])
    )
    # Two files may have a kept column in two types.
    return Block(arrays, labels, pl.concat([b.kept for b in blocks], how="vertical_relaxed"))


def _part_of(block: Block, start: int, stop: int) -> Block:
    arrays, labels = (
        {name: values[start:stop] for name, values in columns.items()}
        for columns in (block.arrays, block.labels)
    )
    return Block(arrays, labels, block.kept[start:stop])


def is_pandas(data: Data) -> bool:
    """Say whether data is a pandas frame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def listed_names(names: Iterable[str]) -> list[str]:
    """Return names as a list; a str is a single name."""
    return [names] if isinstance(names, str) else list(names)


def column_names(data: Data) -> list[str]:
    """Return the names of a frame's columns; anything else is a DataError."""
    if isinstance(data, pl.LazyFrame):
        return data.collect_schema().names()
    if isinstance(data, pl.DataFrame) or is_pandas(data):
        return list(data.columns)
    raise DataError(
        f"data must be a pandas or polars frame, or a path, found {short(type(data).__name__)}."
    )


def as_polars(data: Frame, names: Sequence[str]) -> pl.DataFrame:
    """Return some columns of a frame as one of polars.

    A DataError names each column of a pandas frame that appears twice or mixes kinds of values. Numbers
    without gaps are not copied.
    """
    if isinstance(data, pl.LazyFrame):
        return data.select(names).collect(engine="streaming")
    if isinstance(data, pl.DataFrame):
        return data.select(names)
    columns, problems = [], []
    for name in names:
        column = data[name]
        if column.ndim != 1:
            problems.append(f"there are {column.shape[1]} columns {name!r}. Keep one.")
            continue
        try:
            columns.append(pl.Series(name, pl.from_pandas(column)))
        except Exception as error:  # pyarrow's and polars' have no common base
            problems.append(
                f"column {name!r} ({column.dtype}) mixes kinds of values, or holds one that cannot be "
                f"read: {first_line(error)}. Convert it, such as by .astype(str)."
            )
    raise_all(DataError, "these rows cannot be read", problems)
    return pl.DataFrame(columns)


def with_names(
    frame: pl.DataFrame, needed: Collection[str], names: Iterable[object]
) -> pl.DataFrame:
    """Give a frame that lacks needed columns all names that the data has: a message may suggest them."""
    if all(name in frame.columns for name in needed):
        return frame
    more = dict.fromkeys(str(name) for name in names)
    return frame.with_columns(pl.lit(None).alias(n) for n in more if n not in frame.columns)
