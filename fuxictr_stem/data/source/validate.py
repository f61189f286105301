"""One pass over each split before anything is built: are its values what the config declares?

The pass reads the labels and whatever can be wrong (numbers, vectors) and counts; only when a count
is not zero does a second look find the first row of it. FuxiCTR itself would fill a missing label
with 0, train on NaN and stop at text with an error that names no row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.data.source.readings import fault_text, finite, first_row
from fuxictr_stem.data.source.source_column import Column
from fuxictr_stem.data.source.split_files import Part, Source
from fuxictr_stem.errors import DataError, first_line, raise_all
from fuxictr_stem.runtime.group import ALONE, Group
from fuxictr_stem.runtime.text_table import amount

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitStats:
    """What the pass over one split counted."""

    rows: int  # number of rows
    # Per label: ``rows``, ``nulls`` (rows without it, which the config lets be missing), and of the
    # others ``nonfinite``, ``min``, ``max``, ``sum``, ``positives`` (equal to 1), ``other``
    # (neither 0 nor 1) and ``example`` of those.
    labels: dict[str, dict[str, Any]]
    # Smallest and largest value of each meta column that keeps its integers; a missing value counts
    # as the 0 that it becomes.
    spans: dict[str, tuple[int, int]]
    missing: dict[str, int]  # rows without a value, of each meta column


def check_source(
    source: Source, scratch: Path | None = None, group: Group = ALONE
) -> tuple[Source, dict[str, SplitStats]]:
    """Read every split once and reject what cannot be encoded.

    CSV files are copied as `Source.with_csv_read` says, shared by the processes of a group, of which the
    first one counts. Returns the source, to be read from here on, and the statistics of each split.

    Raises:
        DataError: A split has no rows, a CSV file has no one right reading, a row has too many or too
            few fields, a label is missing or not finite, a number is text, NaN or infinite, a vector has
            another length; all splits' problems are named with their count and the first row.
    """
    problems: list[str] = []
    stats: dict[str, SplitStats] = {}
    source, unreadable = source.with_csv_read(scratch, group)
    for split in source.parts:
        if split in unreadable:
            # Values of such rows are in the wrong columns; what they say there would mislead.
            problems += unreadable[split]
        elif group.is_first:
            start = time.monotonic()
            with explained(source):
                stats[split], counts = _count(source, split)
            rows, seconds = stats[split].rows, time.monotonic() - start
            problems += _problems(source, split, rows, counts)
            logger.debug("Checked %s: %s rows in %.1f s", split, f"{rows:,}", seconds)
    raise_all(DataError, f"dataset {source.plan.dataset_id!r}", problems)
    counted = group.from_first(lambda: {split: asdict(each) for split, each in stats.items()})
    return source, {split: SplitStats(**each) for split, each in counted.items()}


def first_place(source: Source, column: Column, test: Callable[[pl.Expr], pl.Expr]) -> str:
    """Return the file and row, as text, of the first value of a column that passes a test."""
    for split in source.parts:
        for file in source.files(split):
            value = next(r.value for r in file.readings if r.column == column)
            if first := first_row(file.raw, test(value)):
                return f"{file.path}, {first}"
    raise AssertionError(f"no value of {column.name} passes the test")


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn an error of reading a source's files into a DataError that names them."""
    try:
        yield
    except (pl.exceptions.PolarsError, FileNotFoundError, PermissionError) as error:
        files = ", ".join(map(_names, source.parts.values()))
        reason = f"{files} cannot be read: {first_line(error)}"
        problems = [*_unreadable(source)] or [reason]
        raise_all(DataError, f"dataset {source.plan.dataset_id!r}", problems)


def _unreadable(source: Source) -> Iterator[str]:
    """Yield the files that cannot be read, and why."""
    columns = sorted({column.origin for column in source.plan.in_files})
    for split in source.parts:
        for file in source.files(split):
            try:
                file.raw.select(pl.col(columns).null_count()).collect(engine="streaming")
            except (pl.exceptions.PolarsError, OSError) as error:
                yield f"{file.path} ({split}): cannot be read: {first_line(error)}"


def _count(source: Source, split: str) -> tuple[SplitStats, list[int]]:
    """Count the rows, label values and faults of a split; the faults in the order of `_faults`."""
    columns = [column for column in source.plan.columns if column.kind in ("label", "meta")]
    frames = []
    for file in source.files(split):
        values = [r.value for r in file.readings if r.column in columns]
        faults = [fault.where for r in file.readings for fault in r.faults]
        exprs = [value.alias(f"value {i}") for i, value in enumerate(values)]
        exprs += [fault.alias(f"fault {i}") for i, fault in enumerate(faults)]
        if not any(expr.meta.root_names() for expr in exprs):
            # Without a column of the file, there would be no rows.
            exprs.append(pl.first().is_null().alias("row"))
        frames.append(file.raw.select(exprs))
    sums = [pl.len().alias("rows"), pl.col("^fault .*$").sum()]
    for i, column in enumerate(columns):
        summary = _summary(column, pl.col(f"value {i}"))
        sums += [expr.alias(f"{i} {name}") for name, expr in summary.items()]
    row = pl.concat(frames).select(sums).collect(engine="streaming").row(0, named=True)

    stats = SplitStats(row["rows"], {}, {}, {})
    for i, column in enumerate(columns):
        figures = {name: row[f"{i} {name}"] for name in _summary(column, pl.col(f"value {i}"))}
        if column.kind == "label":
            stats.labels[column.name] = {"rows": row["rows"], **figures}
        else:
            stats.missing[column.name] = figures["nulls"]
            if column.raw_id:
                stats.spans[column.name] = (figures["min"] or 0, figures["max"] or 0)
    return stats, [count for name, count in row.items() if name.startswith("fault ")]


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


def _problems(source: Source, split: str, rows: int, counts: Sequence[int]) -> Iterator[str]:
    """Yield what is wrong with a split: its number of rows, and each fault with its first row."""
    parts = source.parts[split]
    counted = sum(part.rows or 0 for part in parts)
    if source.plan.data_format == "csv" and counted != rows:
        yield (
            f"{split} has {counted:,} rows by two readers and {rows:,} by a third ({_names(parts)}). "
            "Write the files as parquet."
        )
    if not rows:
        yield f"{split} has no rows ({_names(parts)})."
    for index, count in enumerate(counts):
        if count:
            yield _described(source, split, index, count)


def _described(source: Source, split: str, index: int, count: int) -> str:
    """Name a fault, by its place among those of all columns, with its count and first row."""
    first = ""
    for file in source.files(split):
        reading, fault = [(r, f) for r in file.readings for f in r.faults][index]
        if first := first_row(file.raw, fault.where, reading.raw):
            first = f"{file.path}, {first}"
            break
    return fault_text(reading, fault, f"{amount(count, 'row')} of {split}", first)


def _names(parts: Sequence[Part]) -> str:
    more = f" and {len(parts) - 2} more" if len(parts) > 2 else ""
    return ", ".join(str(part.path) for part in parts[:2]) + more
