"""Writing rows into one parquet file per split, counting them, and the table printed at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.runtime.text_table import text_table

TRAIN, VALID, TEST = range(3)

Blocks = Iterator[tuple[pl.DataFrame, Array]]
"""Blocks of rows with the same columns, and the split of each row: `TRAIN`, `VALID` or `TEST`."""
Counts = dict[str, Counter[Any]]
"""Of each split, how many rows it has, under "rows", and those of a label's 0 and 1: (label, 1)."""


def write_splits(blocks: Blocks, paths: Mapping[str, Path], labels: Sequence[str]) -> Counts:
    """Write rows into a parquet file per split, whole numbers as Int64, all else as text; count them.

    A label that is no column, or a split without any row, is a DataError.
    """
    counts: Counts = {split: Counter() for split in SPLITS}
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        with ExitStack() as stack:
            for rows, splits in blocks:
                missing = ", ".join(label for label in labels if label not in rows.columns)
                if missing:
                    columns = ", ".join(rows.columns)
                    raise DataError(
                        f"label_col: {missing} is not among the columns of the raw files ({columns})."
                    )
                for code, split in enumerate(SPLITS):
                    part = rows.filter(pl.Series(splits == code))
                    table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
                    if split not in writers:
                        writer = _writer(paths[split], table.schema)
                        writers[split] = stack.enter_context(writer)
                    if part.height:
                        writers[split].write_table(table)
                    _count(counts[split], part, labels)
    except (OSError, pa.ArrowException) as error:
        folder = next(iter(paths.values())).parent
        raise OutputError(f"The split files in {folder} cannot be written: {error}.") from error
    empty = [split for split in SPLITS if not counts[split]["rows"]]
    if empty:
        raise DataError(
            f"No row falls into {' and '.join(empty)} (rows: "
            + ", ".join(f"{split} {count['rows']:,}" for split, count in counts.items())
            + "). The raw file is too small, or the options of `prepare` leave nothing for it."
        )
    return counts


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    whole = [field.name for field in schema if field.type == pa.int64()]
    return pq.ParquetWriter(
        path,
        schema,
        compression="lz4",
        use_dictionary=[name for name in schema.names if name not in whole],
        column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
    )


def _count(count: Counter[Any], part: pl.DataFrame, labels: Sequence[str]) -> None:
    count["rows"] += part.height
    for label in labels:
        values = part[label].cast(pl.Float64, strict=False)
        count.update({(label, value): int((values == value).sum()) for value in (0, 1)})


def split_table(counts: Counts, labels: Sequence[str], source: Mapping[str, Any]) -> str:
    """Return an aligned table: rows and positive rates, compared with the published ones of a config."""
    published, rates = source.get("rows") or {}, source.get("positive_rate") or {}
    total = sum(counts.values(), Counter[Any]())
    binary = [label for label in labels if total[label, 0] + total[label, 1] == total["rows"]]
    table = [["split", "rows", "published", *labels]]
    for name, count in {**counts, "all": total}.items():
        fact = published.get("raw" if name == "all" else name)
        rows = count["rows"]
        shown = "-" if fact is None else fact if isinstance(fact, str) else f"{fact:,}"
        positives = [f"{count[k, 1] / rows:.4f}" if k in binary else "not 0/1" for k in labels]
        table.append([name, f"{rows:,}", shown, *positives])
    shares = ["-" if rates.get(k) is None else f"{rates[k]:.4f}" for k in labels]
    return text_table([*table, ["published", "", "", *shares]])
