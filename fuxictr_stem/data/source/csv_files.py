"""CSV files made ready for polars, the rows of each counted by two other readers.

polars reads plain files (see `csv_shape`) fast and right. All others go through a copy of the columns
that are needed, as text, which the second reader writes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import polars as pl

from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.csv_shape import csv_shape
from fuxictr_stem.data.source.dialect import UNREADABLE, is_gzipped
from fuxictr_stem.data.source.second_reader import copy_as_text, count_rows
from fuxictr_stem.data.source.split_files import Part, Source
from fuxictr_stem.errors import DataError

logger = logging.getLogger(__name__)


def made_ready(source: Source, split: str, scratch: Path | None) -> tuple[Source, list[str]]:
    """Count the rows of a split's CSV files, and copy those that polars does not read as others do.

    Args:
        source: The files.
        split: The split.
        scratch: A folder for the copies, which is made if there are any; None if such files are refused.

    Returns:
        The source with the split's files counted and copied, and what is wrong with those that have no
        one right reading, a row with another number of fields than the header, or need a copy that may
        not be made.
    """
    if source.plan.data_format != "csv":
        return source, []
    parts, problems = [], []
    for i, part in enumerate(source.parts[split]):
        try:
            target = scratch and scratch / f"{split}-{i}.parquet"
            parts.append(_ready(part, source.plan, target))
        except DataError as error:
            problems.append(f"{part.path} ({split}): {error}")
    return source.with_parts(split, parts), problems


def _ready(part: Part, plan: Plan, target: Path | None) -> Part:
    try:
        shape = csv_shape(part.path, plan.dialect)
    except UNREADABLE as error:
        raise DataError(f"cannot be read: {error}.") from error
    rows = count_rows(part.path, plan.dialect, len(part.header), shape.longest)
    if rows != shape.records - 1:
        raise DataError(
            f"{shape.records - 1:,} rows by its line ends and quotes, {rows:,} by another reader. Write "
            "the file again, with every value quoted, or as parquet."
        )
    special = shape.special
    special_characters = (plan.dialect.quote or "\n", "\n", "\r")
    if is_gzipped(part.path):
        special = "is gzipped"
    elif not special and any(c in "".join(part.header) for c in special_characters):
        special = "has a quote or a line end in a column's name"
    if not special:
        return replace(part, rows=rows)
    if target is None:
        raise DataError(
            f"{special}: FuxiCTR's own preprocessing cannot read that. Use --loader h5."
        )
    logger.info("%s %s: read from a copy of its columns as text.", part.path, special)
    target.parent.mkdir(parents=True, exist_ok=True)
    columns = [name for name in part.types if name in part.header]
    copy_as_text(part.path, plan.dialect, part.header, columns, shape.longest, target)
    return replace(part, rows=rows, copy=target, types=dict.fromkeys(part.types, pl.String()))
