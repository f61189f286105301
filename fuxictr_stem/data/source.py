"""The files of each split: their columns checked, and read lazily under the declared types.

Unlike FuxiCTR's, the reading of parquet files goes by the declared types, too, and of a CSV file only
the columns that are needed are parsed.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import polars as pl

from fuxictr_stem.config.values import CATEGORICAL, META, SEQUENCE
from fuxictr_stem.data.columns import Column, Plan
from fuxictr_stem.data.partitions import folder_columns, whole_keys
from fuxictr_stem.data.report import refuse
from fuxictr_stem.data.utf8 import where_not_utf8
from fuxictr_stem.data.values import (
    Reading,
    combined,
    inner_type,
    precision,
    reading,
    rendering,
    type_problem,
)
from fuxictr_stem.errors import DataError, suggest

logger = logging.getLogger(__name__)

TYPES: dict[str, pl.DataType] = {"str": pl.String(), "int": pl.Int64(), "float": pl.Float64()}


@dataclass(frozen=True)
class Part:
    """One file of a split.

    Attributes:
        path: The file.
        types: Of the columns that are needed from it.
        fields: The number of all its columns.
        constants: Columns that it gets from the names of its folders, with the value of all its rows.
    """

    path: Path
    types: Mapping[str, pl.DataType]
    fields: int
    constants: Mapping[str, str | int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """The files of a dataset, ready to be read.

    Attributes:
        plan: What is read.
        parts: The files of each split.
    """

    plan: Plan
    parts: Mapping[str, list[Part]]

    def frame(self, split: str) -> pl.LazyFrame:
        """Return a split's columns, by their names in the config and in their declared types.

        A label that the config lets be missing is NaN there; FuxiCTR would fill a null with 0.
        """
        return pl.concat(
            [
                self.scan(part).select(_framed(r) for r in self.readings(part))
                for part in self.parts[split]
            ]
        )

    def scan(self, part: Part, as_text: bool = False) -> pl.LazyFrame:
        """Return the raw columns of one file; ``as_text`` parses no number of a CSV file."""
        text = as_text and self.plan.data_format == "csv"
        return self._scan(part, as_text).with_columns(
            pl.lit(None if value is None else str(value), pl.String())
            .cast(pl.String() if text else part.types[name])
            .alias(name)
            for name, value in part.constants.items()
        )

    def _scan(self, part: Part, as_text: bool) -> pl.LazyFrame:
        if self.plan.data_format == "parquet":
            return pl.scan_parquet(part.path, glob=False)
        return pl.scan_csv(
            part.path,
            separator=self.plan.sep,
            infer_schema=False,
            schema_overrides={} if as_text else dict(part.types),
            glob=False,
        )

    def readings(self, part: Part, as_text: bool = False) -> list[Reading]:
        """Return how each column comes from the raw columns of one file."""
        text = as_text and self.plan.data_format == "csv"
        found = {
            column: reading(column, pl.String() if text else part.types[column.origin])
            for column in self.plan.in_files
        }
        labels = {c.name: read for c, read in found.items() if c.kind == "label"}
        return [
            combined(column, *(labels[name] for name in column.combines))
            if column.combines
            else found[column]
            for column in self.plan.columns
        ]


def open_source(plan: Plan, files: Mapping[str, list[Path]]) -> Source:
    """Check that the files have the columns of a plan.

    Args:
        plan: What is read.
        files: The files of each split.

    Returns:
        The source.

    Raises:
        DataError: Columns are missing, doubled, of a type that cannot be read as declared, or not
            alike in all files; all problems are named.
    """
    problems: list[str] = []
    parts: dict[str, list[Part]] = {split: [] for split in files}
    read_as = {} if plan.data_format == "parquet" else _csv_types(plan)
    whole = whole_keys(path for paths in files.values() for path in paths)
    for split, paths in files.items():
        for path in paths:
            types, found = _schema(path, plan)
            lacking = [c.origin for c in plan.in_files if c.origin not in types]
            folders = folder_columns(path, lacking, whole)
            known = types | {name: dtype for name, (dtype, _) in folders.items()}
            found = found or _missing(plan, known)
            problems += [f"{path} ({split}): {problem}" for problem in found]
            constants = {name: value for name, (_, value) in folders.items()}
            parts[split].append(Part(path, read_as or known, len(types), constants))
    if not problems and plan.data_format == "parquet":
        problems = _type_problems(plan, parts)
    if problems:
        refuse(DataError, f"dataset {plan.dataset_id!r}", problems)
    _warn_of_splitters(plan, parts)
    return Source(plan, parts)


def _warn_of_splitters(plan: Plan, parts: Mapping[str, list[Part]]) -> None:
    """Say what splits the sequences that name no splitter, other than lists of a parquet file."""
    unsaid = [c["name"] for c in plan.features if c["type"] == SEQUENCE and "splitter" not in c]
    texts = {
        column.name
        for column in plan.in_files
        for part in chain.from_iterable(parts.values())
        if column.name in unsaid and inner_type(part.types[column.origin]) is None
    }
    for name in sorted(texts):
        logger.warning(
            "Column %s is a sequence without a splitter: '^' is assumed between its tokens, as in "
            "FuxiCTR. Set splitter in its entry of feature_cols.",
            name,
        )


def _framed(reading: Reading) -> pl.Expr:
    value = reading.value
    if reading.column.kind == "label":
        value = value.fill_null(math.nan)
    return value.alias(reading.column.name)


def _schema(path: Path, plan: Plan) -> tuple[dict[str, pl.DataType], list[str]]:
    """Return the columns of a file, or what is wrong with it."""
    try:
        if plan.data_format == "parquet":
            return dict(pl.read_parquet_schema(path)), []
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, delimiter=plan.sep), [])
            ends = file.newlines
    except UnicodeDecodeError:
        return {}, [where_not_utf8(path) or "its header is not UTF-8."]
    except (pl.exceptions.PolarsError, OSError, csv.Error) as error:
        reason = str(error).splitlines()[0]
        return {}, [f"cannot be read as {plan.data_format}: {reason}"]
    if ends == "\r":
        return {}, ["its lines end with CR alone. Save it with LF or CRLF as the end of a line."]
    doubled = sorted({name for name in header if header.count(name) > 1})
    found = [f"its header names column {n!r} {header.count(n)} times." for n in doubled]
    return dict.fromkeys(header, pl.String()), found


def _missing(plan: Plan, types: Mapping[str, pl.DataType]) -> list[str]:
    found = []
    for column in plan.in_files:
        if column.origin not in types:
            what = "label" if column.kind == "label" else "feature"
            use = f"copied by {what}" if column.name != column.origin else what
            found.append(
                f"has no column {column.origin!r} ({use} {column.name!r})."
                + suggest(column.origin, types)
            )
    if len(found) > 1 and len(types) == 1:
        found.append(f"its header {next(iter(types))!r} is one column: is sep {plan.sep!r} right?")
    return found


def _csv_types(plan: Plan) -> dict[str, pl.DataType]:
    """Return the type to parse each column in: text where the columns read from it disagree."""
    wanted: dict[str, set[str]] = {}
    for column in plan.in_files:
        wanted.setdefault(column.origin, set()).add(column.dtype)
    return {name: TYPES[d.pop()] if len(d) == 1 else TYPES["str"] for name, d in wanted.items()}


def _type_problems(plan: Plan, parts: Mapping[str, list[Part]]) -> list[str]:
    """Return types that cannot be read as declared, or that tell one value from itself."""
    problems = [
        f"{part.path} ({split}), {column.described}: {problem}"
        for column in plan.in_files
        for split, files in parts.items()
        for part in files
        if (problem := type_problem(column, part.types[column.origin]))
    ]
    return problems or [
        problem
        for columns in _tables(plan)
        if (
            problem := _unlike(columns, [(s, part) for s, files in parts.items() for part in files])
        )
    ]


def _tables(plan: Plan) -> list[list[Column]]:
    """Return the columns of ids by the table that they share."""
    tables: dict[str, list[Column]] = {}
    for col in plan.features:
        if col["active"] and col["type"] in (CATEGORICAL, SEQUENCE, META):
            table = tables.setdefault(col.get("share_embedding") or col["name"], [])
            table.append(plan.source_of(col["name"]))
    return list(tables.values())


def _unlike(columns: Sequence[Column], parts: Sequence[tuple[str, Part]]) -> str | None:
    """Return where the types of a table's columns would give one value two ids, or None."""
    dtype = columns[0].dtype
    if dtype == "int":
        # What is no whole number is found by value.
        return None
    told, neutral, example = rendering, {"text", "int"}, "'1' and '1.0'"
    if dtype == "float":
        told, neutral, example = precision, {"whole"}, "0.1, which a Float32 rounds"
    seen: dict[str, str] = {}
    for column in columns:
        for split, part in parts:
            have = part.types[column.origin]
            if (inner_type(have) or have) != pl.Null:
                where = f"{column.described} is {have} in {part.path} ({split})"
                seen.setdefault(told(have), where)
    kinds = set(seen) if dtype == "str" else set(seen) - neutral
    if len(kinds) < 2 or kinds <= neutral:
        return None
    types = " and ".join(where for kind, where in seen.items() if kind in kinds)
    shared = ", which share a table" if len(columns) > 1 else ""
    return (
        f"{types}{shared}: as {dtype} the same value would be two tokens, such as {example}. Write it "
        "with one type everywhere."
    )
