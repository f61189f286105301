"""Columns of valid and test by their raw values, in the order of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.data.source.column_plan import BLOCK_ROWS, origin_of, plan_columns
from fuxictr_stem.data.source.columns import Column
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import explained
from fuxictr_stem.errors import DataError, raise_all
from fuxictr_stem.runtime.whole_folder import fresh_folder

PREDICTION_COLUMNS = "prediction_columns"


@dataclass(frozen=True)
class RawColumns:
    """Some columns of a dataset's files."""

    source: Source  # the files, with these columns alone
    origins: Mapping[str, str]  # by the name that a column gets, its name in the files
    folder: Path  # where CSV files are copied to for a while

    def blocks(self, split: str, block_rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
        """Read the columns of a split, so many rows at a time, which bounds the memory.

        Columns of a parquet file have its types. Those of a CSV file have their declared ``dtype``,
        and are text where none is declared. Missing values are null.

        Raises:
            DataError: A file cannot be read.
        """
        with fresh_folder(self.folder / "columns") as scratch:
            source, problems = self.source.with_csv_read(split, scratch)
            raise_all(DataError, f"dataset {source.plan.dataset_id!r}", problems)
            is_csv = source.plan.data_format == "csv"
            frames = []
            for file in source.files(split):
                by_origin = {r.column.origin: r.value if is_csv else r.raw for r in file.readings}
                columns = [by_origin[origin].alias(name) for name, origin in self.origins.items()]
                frame = file.raw.select(columns)
                # Two files may have other categories.
                frames.append(frame.cast({pl.Categorical: pl.String, pl.Enum: pl.String}))
            with explained(source):
                yield from pl.concat(frames, how="vertical_relaxed").collect_batches(
                    chunk_size=block_rows, maintain_order=True, engine="streaming"
                )


def find_raw_columns(
    dataset: Mapping[str, Any], names: Sequence[str], group_key: str, folder: Path
) -> RawColumns | None:
    """Find columns in the files of valid and test.

    Args:
        dataset: The dataset config, checked and normalised.
        names: Columns of the files, declared or not, or declared columns that copy another.
        group_key: The name that the raw values of the ``group_id`` column get.
        folder: Where CSV files may be copied to for a while. It is the run's: ``data_root`` may be
            read-only.

    Returns:
        The columns, that of the groups first; None if there are none.

    Raises:
        DataError: A column is not in a file, or has a type without text; all are named.
    """
    declared = {col["name"]: col for col in (*dataset["feature_cols"], *dataset["label_col"])}
    wanted = {name: name for name in names}
    if dataset.get("group_id") is not None:
        wanted = {group_key: dataset["group_id"], **wanted}
    origins = {name: origin_of(column, declared) for name, column in wanted.items()}
    if not origins:
        return None
    # A kind that may be a list, too.
    kind = "sequence" if dataset["data_format"] == "parquet" else "meta"
    dtypes = {origin: declared.get(origin, {}).get("dtype", "str") for origin in origins.values()}
    plan = plan_columns(dataset)
    columns = [
        Column(PREDICTION_COLUMNS, kind, dtype, origin, null_values=plan.null_values)
        for origin, dtype in dtypes.items()
    ]
    plan = replace(plan, columns=tuple(columns), features=[])
    files = {split: paths for split, paths in find_files(dataset).items() if split != "train"}
    return RawColumns(open_source(plan, files), origins, folder)
