"""The files of each split, read lazily under the declared types.

Unlike FuxiCTR's, the reading of parquet files goes by the declared types, too, and of a CSV file only
the columns that are needed are kept.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl

from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.readings import Reading, readings
from fuxictr_stem.data.source.source_column import TYPES, WITHIN_INT64
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.group import ALONE, Group

HIDDEN = "\0"
"""First character of the names of columns that a frame has for us; no file has such names."""


CsvRead = tuple[int, Mapping[str, str], str]
"""Of a CSV file, as JSON: its rows, the types of its columns in the copy, and what is wrong with it."""


@dataclass(frozen=True)
class Part:
    """One file of a split."""

    path: Path  # where it is
    # The types of the columns that are needed from it, as they are read.
    types: Mapping[str, pl.DataType]
    header: Sequence[str]  # the names of all its columns
    # Columns that it gets from the names of its folders, with the value of all its rows.
    constants: Mapping[str, str | None] = field(default_factory=dict)
    # The rows of a CSV file as two other readers than polars count them; None where they did not.
    rows: int | None = None
    copy: Path | None = None  # an Arrow file with the columns of a CSV file, which is read instead
    run: tuple[int, int] | None = None  # the first row that is read, and how many; None for all


class OpenFile(NamedTuple):
    """One file of a split, ready to be read: its path, its raw columns, and what is read from them."""

    path: Path
    raw: pl.LazyFrame
    readings: list[Reading]


@dataclass(frozen=True)
class Source:
    """The files of a dataset, ready to be read."""

    plan: Plan  # what is read
    parts: Mapping[str, list[Part]]  # the files of each split

    def frame(self, split: str) -> pl.LazyFrame:
        """Return a split's columns, by their names in the config and in their declared types.

        A label that the config lets be missing is NaN there; FuxiCTR would fill a null with 0. Next to
        a column that is filled is whether its value is missing, under `missing_flag`, and next to the
        text of whole numbers the numbers, under `whole_number`.
        """
        whole = self.whole_numbers()
        return pl.concat(
            [
                file.raw.select(e.alias(n) for n, e in framed(file.readings, whole).items())
                for file in self.files(split)
            ],
            # Two files may hold a column that is kept in two types.
            how="vertical_relaxed",
        )

    def files(self, split: str) -> list[OpenFile]:
        """Return a split's files, opened: raw columns, and how the plan's columns come from them."""
        return [
            OpenFile(part.path, self._raw(part), readings(self.plan.columns, part.types))
            for part in self.parts[split]
        ]

    def whole_numbers(self) -> set[str]:
        """Return the columns that are declared text and are whole numbers in every file."""
        types = (part.types for parts in self.parts.values() for part in parts)
        return written_numbers(self.plan, types)

    def _raw(self, part: Part) -> pl.LazyFrame:
        if part.copy:
            frame = pl.scan_ipc(part.copy, glob=False)
        elif self.plan.data_format == "parquet":
            frame = pl.scan_parquet(part.path, glob=False)
        else:
            frame = pl.scan_csv(
                part.path,
                separator=self.plan.dialect.sep,
                quote_char=self.plan.dialect.quote,
                infer_schema=False,
                glob=False,
            )
        frame = frame if part.run is None else frame.slice(*part.run)
        return frame.with_columns(
            pl.lit(value, pl.String()).cast(part.types[name]).alias(name)
            for name, value in part.constants.items()
        )

    def share(self, group: Group) -> Source:
        """Return the source with those rows of each split that fall to this process of a group."""
        if group.count == 1:
            return self
        parts = {}
        for split, whole in self.parts.items():
            sizes = [_rows(part) for part in whole]
            first, last = self.share_of(sum(sizes), group)
            starts = [sum(sizes[:place]) for place in range(len(sizes))]
            runs = [
                (max(first - start, 0), max(min(last - start, size) - max(first - start, 0), 0))
                for start, size in zip(starts, sizes, strict=True)
            ]
            parts[split] = [replace(part, run=run) for part, run in zip(whole, runs, strict=True)]
        return replace(self, parts=parts)

    def share_of(self, rows: int, group: Group) -> tuple[int, int]:
        """Return which of a split's rows `share` leaves: the first, and the one after the last.

        A function that makes a column may look at all rows at once, so then all fall to the first process.
        """
        if self.plan.derived:
            return (0, rows) if group.is_first else (rows, rows)
        return group.share_of(rows)

    def with_csv_read(
        self, scratch: Path | None, group: Group = ALONE
    ) -> tuple[Source, dict[str, list[str]]]:
        """Return the source with its CSV files counted and copied, and what is wrong with them, by split.

        Each process of a group calls this and reads its share of the files. The copies go into
        ``scratch``, which is made if need be. None reads the files themselves, and rejects those that
        polars does not read as other readers do.
        """
        if self.plan.data_format != "csv":
            return self, {}
        files = {f"{s}-{i}": (s, part) for s in self.parts for i, part in enumerate(self.parts[s])}
        copies = {name: scratch and scratch / f"{name}.arrow" for name in files}
        names = list(files)
        if group.count > 1:
            # The largest first, so that the shares are even.
            names.sort(key=lambda name: (-files[name][1].path.stat().st_size, name))
        ours = names[group.number :: group.count]
        read = {name: self._read_csv(files[name][1], copies[name]) for name in ours}
        of_all = ChainMap(*group.exchange(read))
        parts: dict[str, list[Part]] = {split: [] for split in self.parts}
        problems: dict[str, list[str]] = {}
        for name, (split, part) in files.items():
            rows, types, problem = of_all[name]
            if problem:
                problems.setdefault(split, []).append(f"{part.path} ({split}): {problem}")
                continue
            every = {**part.types, **{column: TYPES[dtype] for column, dtype in types.items()}}
            parts[split].append(replace(part, types=every, rows=rows, copy=copies[name]))
        return replace(self, parts=parts), problems

    def _read_csv(self, part: Part, copy: Path | None) -> CsvRead:
        # pyarrow takes a while to import, and scoring rows needs no files.
        from fuxictr_stem.data.source.csv_files import read_csv

        if copy:
            copy.parent.mkdir(parents=True, exist_ok=True)
        wanted = {n: dtype for n, dtype in _csv_types(self.plan).items() if n in part.header}
        try:
            rows, types = read_csv(part.path, self.plan.dialect, part.header, wanted, copy)
        except DataError as error:
            return 0, {}, str(error)
        return rows, {n: key for n, t in types.items() for key in TYPES if TYPES[key] == t}, ""


def _rows(part: Part) -> int:
    """Return how many rows a file has: of a parquet file, as it says itself."""
    if part.rows is not None:
        return part.rows
    return int(pl.scan_parquet(part.path, glob=False).select(pl.len()).collect().item())


def _csv_types(plan: Plan) -> dict[str, pl.DataType]:
    """Return the type to keep each column in: text where the columns read from it disagree."""
    dtypes: dict[str, set[str]] = {}
    for column in plan.in_files:
        dtypes.setdefault(column.origin, set()).add("str" if plan.null_values else column.dtype)
    return {name: TYPES[d.pop() if len(d) == 1 else "str"] for name, d in dtypes.items()}


def written_numbers(plan: Plan, types: Iterable[Mapping[str, pl.DataType]]) -> set[str]:
    """Return the columns that are declared text and are whole numbers by the types of every file."""
    types = list(types)
    return {
        column.name
        for column in plan.in_files
        if column.dtype == "str" and all(t[column.origin] in WITHIN_INT64 for t in types)
    }


def missing_flag(name: str) -> str:
    """Return the name of the column that says where a column has no value; no file has such a name."""
    return f"{HIDDEN}missing {name}"


def whole_number(name: str) -> str:
    """Return the name of the column that holds the numbers of which a column is the text."""
    return f"{HIDDEN}whole {name}"


def framed(readings: Iterable[Reading], whole: set[str]) -> dict[str, pl.Expr]:
    """Return by name the columns that `Source.frame` has, of which ``whole`` are whole numbers."""
    columns: dict[str, pl.Expr] = {}
    for reading in readings:
        value, name = reading.value, reading.column.name
        columns[name] = value.fill_null(math.nan) if reading.column.kind == "label" else value
        if reading.missing is not None:
            columns[missing_flag(name)] = reading.missing
        if name in whole:
            columns[whole_number(name)] = reading.raw.cast(pl.Int64)
    return columns
