"""Columns of a dataset's files by their raw values: of valid and test, and the first rows of one."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import copy_chain
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS, plan_columns
from fuxictr_stem.data.source.dialect import Dialect, open_bytes
from fuxictr_stem.data.source.files import SPLITS, find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.source_column import PREDICTED, Column
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import explained
from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.runtime.whole_folder import fresh_folder

PLACES = tuple(f"{split}_data" for split in SPLITS)
"""The keys of a dataset that say where its splits are."""


@dataclass(frozen=True)
class RawColumns:
    """Some columns of a dataset's files."""

    source: Source  # the files, with these columns alone
    folder: Path  # where CSV files are copied to for a while

    def blocks(
        self, split: str, block_rows: int = BLOCK_ROWS, most: int | None = None
    ) -> Iterator[pl.DataFrame]:
        """Read the first rows of a split, or all, so many at a time, which bounds the memory.

        Columns of a parquet file have its types. Those of a CSV file have their declared ``dtype``,
        and are text where none is declared. Missing values are null.

        Raises:
            DataError: A file cannot be read.
        """
        source = replace(self.source, parts={split: self.source.parts[split]})
        with fresh_folder(self.folder / "columns") as scratch:
            source, problems = source.with_csv_read(scratch)
            raise_all(DataError, f"dataset {source.plan.dataset_id!r}", problems.get(split, []))
            with explained(source):
                frame = source.frame(split)
                yield from (frame if most is None else frame.head(most)).collect_batches(
                    chunk_size=block_rows, maintain_order=True, engine="streaming"
                )


def find_raw_columns(
    dataset: Mapping[str, Any], names: Sequence[str], group_key: str, folder: Path
) -> RawColumns | None:
    """Find columns in the files of valid and test: ``group_id``, named ``group_key``, and then some names.

    These are columns of the files, declared or not, or declared columns that copy another. CSV files may
    be copied into ``folder`` for a while, which is the run's: ``data_root`` may be read-only. None is
    returned if there are no such columns.

    Raises:
        DataError: A column is not in a file; all are named.
    """
    declared = {col["name"]: col for col in (*dataset["feature_cols"], *dataset["label_col"])}
    wanted = {name: name for name in names}
    if dataset.get("group_id") is not None:
        wanted = {group_key: dataset["group_id"], **wanted}
    if not wanted:
        return None
    plan, is_csv = plan_columns(dataset), dataset["data_format"] == "csv"
    columns = []
    for name, column in wanted.items():
        origin = copy_chain(column, declared)[-1]
        dtype = declared.get(origin, {}).get("dtype", "str") if is_csv else ""
        columns.append(Column(name, PREDICTED, dtype, origin, null_values=plan.null_values))
    plan = replace(plan, columns=tuple(columns), features=[])
    files = {split: paths for split, paths in find_files(dataset).items() if split != "train"}
    return RawColumns(open_source(plan, files), folder)


def first_rows(
    dataset: Mapping[str, Any], features: Collection[str], count: int, folder: Path
) -> pl.DataFrame:
    """Read the raw columns of features in the first rows of test, or of valid where there is no test.

    No more of the file is read. A small file is written into ``folder`` for a while.

    Raises:
        DataError: The files are not there any more, or not what they were.
        OSError: A file cannot be read, or the folder not be written.
    """
    plan = plan_columns(dataset).only(features)
    names = list(dict.fromkeys(column.origin for column in plan.in_files))
    files = find_files(dataset)
    split = "test" if "test" in files else "valid"
    places: dict[str, str] = {}
    with fresh_folder(folder / "first_rows") as scratch:
        if plan.data_format == "csv":
            path = files[split][0]
            # The names of its folders may say what a column holds.
            folders = [part for part in path.parent.parts if "=" in part]
            small = scratch.joinpath(*folders, "rows.csv")
            small.parent.mkdir(parents=True, exist_ok=True)
            _copy_lines(path, small, plan.dialect, count)
            places = dict.fromkeys(PLACES, str(small))
        raw = find_raw_columns({**dataset, **places, "group_id": None}, names, "", scratch)
        assert raw is not None
        return pl.concat(raw.blocks(split, most=count))


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
