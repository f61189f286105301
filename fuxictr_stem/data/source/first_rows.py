"""The first rows of a dataset's newest split, by their raw values: what an export is tried on."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.dialect import Dialect, dialect_of, open_bytes
from fuxictr_stem.data.source.files import SPLITS, find_files
from fuxictr_stem.data.source.partitions import folder_columns, whole_keys
from fuxictr_stem.data.source.raw_columns import find_raw_columns
from fuxictr_stem.runtime.whole_folder import fresh_folder

PLACES = tuple(f"{split}_data" for split in SPLITS)
"""The keys of a dataset that say where its splits are."""


def first_rows(
    dataset: Mapping[str, Any], features: Collection[str], count: int, folder: Path
) -> pl.DataFrame:
    """Read the first rows of test, or of valid where there is no test; no more of the file is read.

    Args:
        dataset: The dataset config, checked and normalised.
        features: The features whose raw columns are read.
        count: How many rows.
        folder: Where a small file may be written for a while.

    Returns:
        The columns. Those of a parquet file have its types, those of a CSV file their declared ones.

    Raises:
        DataError: The files are not there any more, or not what they were.
        OSError: A file cannot be read, or the folder not be written.
    """
    plan = plan_columns(dataset).only(features)
    names = list(dict.fromkeys(column.origin for column in plan.in_files))
    files = find_files(dataset)
    path = files["test" if "test" in files else "valid"][0]
    if dataset["data_format"] == "csv":
        with fresh_folder(folder / "first_rows") as scratch:
            return _of_csv(dataset, path, names, count, scratch)
    held = [name for name in names if name in pl.read_parquet_schema(path)]
    frame = pl.read_parquet(path, columns=held, n_rows=count, glob=False)
    every = whole_keys(file for split in files.values() for file in split)
    folders = folder_columns(path, set(names) - set(held), every)
    constants = [pl.lit(value, dtype).alias(name) for name, (dtype, value) in folders.items()]
    return frame.with_columns(constants).select(names)


def _of_csv(
    dataset: Mapping[str, Any], path: Path, names: Sequence[str], count: int, scratch: Path
) -> pl.DataFrame:
    # The names of its folders may say what a column holds.
    small = scratch.joinpath(*(part for part in path.parent.parts if "=" in part), "rows.csv")
    small.parent.mkdir(parents=True, exist_ok=True)
    _copy_lines(path, small, dialect_of(dataset), count)
    places = dict.fromkeys(PLACES, str(small))
    raw = find_raw_columns({**dataset, **places, "group_id": None}, names, "", scratch)
    assert raw is not None
    return pl.concat(raw.blocks("valid"))


def _copy_lines(path: Path, small: Path, dialect: Dialect, count: int) -> None:
    """Copy the lines of a CSV file's header and first rows, as they are."""
    lines: list[str] = []

    def read(file: io.TextIOWrapper) -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
        rows = filter(None, dialect.rows(read(file)))
        for _ in islice(rows, count + 1):
            pass
    small.write_text("".join(lines), encoding="utf-8", newline="")
