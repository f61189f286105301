"""One pass over each split before anything is built: are its values what the config declares?

The pass reads the labels and whatever can be wrong (numbers, vectors) and counts; only when a count
is not zero does a second look find the first row of it. FuxiCTR itself would fill a missing label
with 0, train on NaN and stop at text with an error that names no row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.data.source.column_plan import Column
from fuxictr_stem.data.source.csv_files import made_ready
from fuxictr_stem.data.source.parse_columns import finite
from fuxictr_stem.data.source.row_rules import Fault, faults_of
from fuxictr_stem.data.source.split_files import Part, Source
from fuxictr_stem.data.source.utf8 import where_not_utf8
from fuxictr_stem.errors import DataError, refuse

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitStats:
    """What the pass over one split found.

    Attributes:
        rows: Number of rows.
        labels: Per label: ``rows``, ``nulls`` (rows without it, which the config lets be missing), and
            of the others ``nonfinite``, ``min``, ``max``, ``sum``, ``positives`` (equal to 1),
            ``other`` (neither 0 nor 1) and ``example`` of those.
        spans: Smallest and largest value of each meta column that keeps its integers; a missing
            value counts as the 0 that it becomes.
        missing: Rows without a value, of each meta column.
    """

    rows: int
    labels: dict[str, dict[str, Any]]
    spans: dict[str, tuple[int, int]]
    missing: dict[str, int]


def check_source(
    source: Source, scratch: Path | None = None
) -> tuple[Source, dict[str, SplitStats]]:
    """Read every split once and refuse what cannot be encoded.

    Args:
        source: The files of a dataset.
        scratch: A folder for copies of the CSV files that polars does not read as other readers do;
            None if such files are refused.

    Returns:
        The source, to be read from here on, and the statistics of each split.

    Raises:
        DataError: A split has no rows, a CSV file has no one right reading, a row has too many or too
            few fields, a label is missing or not finite, a number is text, NaN or infinite, a vector has
            another length; all splits' problems are named with their count and the first row.
    """
    problems: list[str] = []
    stats: dict[str, SplitStats] = {}
    for split in source.parts:
        start = time.monotonic()
        source, unreadable = made_ready(source, split, scratch)
        if unreadable:
            # Values of such rows stand in the wrong columns; what they say there would mislead.
            problems += unreadable
            continue
        source, found, stats[split] = _check_values(source, split)
        problems += found
        logger.debug(
            "Checked %s: %s rows in %.1f s",
            split,
            f"{stats[split].rows:,}",
            time.monotonic() - start,
        )
    if problems:
        refuse(DataError, f"dataset {source.plan.dataset_id!r}", problems)
    return source, stats


def _check_values(source: Source, split: str) -> tuple[Source, list[str], SplitStats]:
    try:
        found, stats = _check_split(source, split)
    except pl.exceptions.PolarsError:
        # The CSV reader stops at what is no number for it, such as one with a blank behind it.
        source = source.as_text(split) if source.plan.data_format == "csv" else source
        with explained(source):
            found, stats = _check_split(source, split)
    counted = sum(part.rows or 0 for part in source.parts[split])
    if source.plan.data_format == "csv" and counted != stats.rows:
        found.insert(
            0,
            f"{split} has {counted:,} rows by two readers and {stats.rows:,} by a third "
            f"({_names(source.parts[split])}). Write the files as parquet.",
        )
    return source, found, stats


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn an error of reading a source's files into a DataError that names file, row and value."""
    try:
        yield
    except (pl.exceptions.PolarsError, FileNotFoundError, PermissionError) as error:
        problems = _diagnose(source, str(error).splitlines()[0])
        try:
            refuse(DataError, f"dataset {source.plan.dataset_id!r}", problems)
        except DataError as found:
            raise found from error


def _check_split(source: Source, split: str) -> tuple[list[str], SplitStats]:
    """Count rows, label values and faults of a split; describe the faults."""
    parts = source.parts[split]
    faults = faults_of(source.readings(parts[0]))
    columns = [column for column in source.plan.columns if _summed(column)]
    frames = []
    for part in parts:
        readings = source.readings(part)
        wanted = [reading.value for reading in readings if _summed(reading.column)]
        flags = [fault.where for fault in faults_of(readings)]
        named = [expr.alias(f"value {i}") for i, expr in enumerate(wanted)]
        named += [expr.alias(f"fault {i}") for i, expr in enumerate(flags)]
        if source.plan.data_format == "csv":
            # No fault of theirs needs their values, but their reader may stop at one.
            whole = [r.value.is_null() for r in readings if r.column.dtype == "int"]
            named += [expr.alias(f"whole {i}") for i, expr in enumerate(whole)]
        frames.append(source.scan(part).select(named))
    sums = [pl.len().alias("rows")]
    sums += [pl.col(f"fault {i}").sum() for i in range(len(faults))]
    sums.append(pl.col("^whole .*$").sum())
    for i, column in enumerate(columns):
        summary = _summary(column, pl.col(f"value {i}"))
        sums += [expr.alias(f"{i} {name}") for name, expr in summary.items()]
    row = pl.concat(frames).select(sums).collect(engine="streaming").row(0, named=True)

    problems = [] if row["rows"] else [f"{split} has no rows ({_names(parts)})."]
    for i, fault in enumerate(faults):
        if row[f"fault {i}"]:
            problems.append(_describe(source, split, i, fault, row[f"fault {i}"]))
    labels, spans, missing = {}, {}, {}
    for i, column in enumerate(columns):
        got = {name: row[f"{i} {name}"] for name in _summary(column, pl.col(f"value {i}"))}
        if column.kind == "label":
            labels[column.name] = {"rows": row["rows"], **got}
        else:
            missing[column.name] = got["nulls"]
            if column.raw_id:
                spans[column.name] = (got["min"] or 0, got["max"] or 0)
    return problems, SplitStats(row["rows"], labels, spans, missing)


def _summed(column: Column) -> bool:
    return column.kind in ("label", "meta")


def _summary(column: Column, value: pl.Expr) -> dict[str, pl.Expr]:
    if column.raw_id:
        filled = value.fill_null(0)
        return {"nulls": value.null_count(), "min": filled.min(), "max": filled.max()}
    if column.kind == "meta":
        return {"nulls": value.null_count()}
    other = value.is_finite() & (value != 0) & (value != 1)
    return {
        "nulls": value.null_count(),
        "nonfinite": (~finite(value)).sum(),
        "min": value.min(),
        "max": value.max(),
        "sum": value.sum(),
        "positives": (value == 1).sum(),
        "other": other.sum(),
        "example": value.filter(other).first(),
    }


def _describe(source: Source, split: str, index: int, fault: Fault, count: int) -> str:
    """Name a fault with its column, split, count and first row."""
    name = fault.reading.column.described
    rows = "1 row" if count == 1 else f"{count:,} rows"
    text = f"{name} is {fault.what} in {rows} of {split}"
    for part in source.parts[split]:
        here = faults_of(source.readings(part))[index]
        frame = source.scan(part).select(raw=here.reading.raw, wrong=here.where)
        first = frame.with_row_index("row").filter("wrong").head(1).collect(engine="streaming")
        if first.height:
            value = first["raw"].to_list()[0]
            shown = "" if value is None else f", value {_short(value)}"
            text += f"; first in {part.path}, row {first['row'][0] + 1:,}{shown}"
            break
    return f"{text}. {fault.advice}".rstrip()


def first_place(source: Source, column: Column, test: Callable[[pl.Expr], pl.Expr]) -> str:
    """Return the file and row, as text, of the first value of a column that passes a test."""
    for part in (part for parts in source.parts.values() for part in parts):
        value = next(r.value for r in source.readings(part) if r.column == column)
        frame = source.scan(part).select(here=test(value)).with_row_index("row")
        first = frame.filter("here").head(1).collect(engine="streaming")
        if first.height:
            return f"{part.path}, row {first['row'][0] + 1:,}"
    raise AssertionError(f"no value of {column.name} passes the test")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _diagnose(source: Source, reason: str) -> list[str]:
    """Find what a reader's error was about."""
    problems = []
    csv = source.plan.data_format == "csv"
    for split, parts in source.parts.items():
        for part in parts:
            found = where_not_utf8(part.path) if csv and part.path.is_file() else None
            if found is None:
                found = _unreadable(source, part)
            if found:
                problems.append(f"{part.path} ({split}): {found}")
    files = ", ".join(_names(parts) for parts in source.parts.values())
    return problems or [f"{files} cannot be read: {reason}"]


def _unreadable(source: Source, part: Part) -> str | None:
    """Return what stops a file from being read, or None."""
    columns = sorted({column.origin for column in source.plan.in_files})
    try:
        frame = source.scan(part).select(pl.col(columns).null_count())
        frame.collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        return f"cannot be read: {str(error).splitlines()[0]}"
    return None


def _names(parts: list[Part]) -> str:
    shown: list[Path] = [part.path for part in parts[:2]]
    more = f" and {len(parts) - 2} more" if len(parts) > 2 else ""
    return ", ".join(map(str, shown)) + more
