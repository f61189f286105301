"""The files of each split: their columns checked, and read lazily under the declared types.

Unlike FuxiCTR's, the reading of parquet files goes by the declared types, too, and of a CSV file only
the columns that are needed are parsed.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import polars as pl

from fuxictr_stem.config.values import CATEGORICAL, META, SEQUENCE
from fuxictr_stem.data.source.column_plan import Column, Plan
from fuxictr_stem.data.source.csv_shape import csv_shape
from fuxictr_stem.data.source.dialect import UNREADABLE, open_bytes
from fuxictr_stem.data.source.parse_columns import (
    Reading,
    combined,
    inner_type,
    precision,
    reading,
    rendering,
    type_problem,
)
from fuxictr_stem.data.source.partitions import folder_columns, whole_keys
from fuxictr_stem.data.source.utf8 import where_not_utf8
from fuxictr_stem.errors import DataError, refuse, suggest

logger = logging.getLogger(__name__)

HIDDEN = "\0"
"""First character of the names of columns that a frame has for us; no file has such names."""
TYPES: dict[str, pl.DataType] = {"str": pl.String(), "int": pl.Int64(), "float": pl.Float64()}


@dataclass(frozen=True)
class Part:
    """One file of a split.

    Attributes:
        path: Where it is.
        types: The types of the columns that are needed from it, as they are read.
        header: The names of all its columns.
        constants: Columns that it gets from the names of its folders, with the value of all its rows.
        rows: Its rows as other readers than polars count them; None where they did not.
        copy: A parquet file of its columns as text, which is read instead.
    """

    path: Path
    types: Mapping[str, pl.DataType]
    header: Sequence[str]
    constants: Mapping[str, str | int | None] = field(default_factory=dict)
    rows: int | None = None
    copy: Path | None = None


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

        A label that the config lets be missing is NaN there; FuxiCTR would fill a null with 0. Next to
        a column that is filled is whether its value is missing, under `missing_flag`, and next to the
        text of whole numbers the numbers, under `whole_number`.
        """
        whole = self.whole_numbers()
        return pl.concat(
            [
                self.scan(part).select(e for r in self.readings(part) for e in _framed(r, whole))
                for part in self.parts[split]
            ]
        )

    def whole_numbers(self) -> set[str]:
        """Return the columns that are declared text and are whole numbers in every file."""
        parts = [part for parts in self.parts.values() for part in parts]
        return {
            column.name
            for column in self.plan.in_files
            if column.dtype == "str"
            and all(
                part.types[column.origin].is_integer() and part.types[column.origin] != pl.UInt64
                for part in parts
            )
        }

    def scan(self, part: Part) -> pl.LazyFrame:
        """Return the raw columns of one file."""
        return self._scan(part).with_columns(
            pl.lit(None if value is None else str(value), pl.String())
            .cast(part.types[name])
            .alias(name)
            for name, value in part.constants.items()
        )

    def _scan(self, part: Part) -> pl.LazyFrame:
        if self.plan.data_format == "parquet" or part.copy:
            return pl.scan_parquet(part.copy or part.path, glob=False)
        return pl.scan_csv(
            part.path,
            separator=self.plan.dialect.sep,
            quote_char=self.plan.dialect.quote,
            infer_schema=False,
            schema_overrides=dict(part.types),
            glob=False,
        )

    def with_parts(self, split: str, parts: Sequence[Part]) -> Source:
        """Return the source with other parts of a split."""
        return replace(self, parts={**self.parts, split: list(parts)})

    def as_text(self, split: str) -> Source:
        """Return the source with no number of a split's CSV files parsed by their reader."""
        parts = self.parts[split]
        text = [replace(p, types=dict.fromkeys(p.types, pl.String())) for p in parts]
        return self.with_parts(split, text)

    def readings(self, part: Part) -> list[Reading]:
        """Return how each column comes from the raw columns of one file."""
        found = {
            column: reading(column, part.types[column.origin]) for column in self.plan.in_files
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
            parts[split].append(Part(path, read_as or known, tuple(types), constants))
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


def missing_flag(name: str) -> str:
    """Return the name of the column that tells where a column has no value; no file has such a name."""
    return f"{HIDDEN}missing {name}"


def whole_number(name: str) -> str:
    """Return the name of the column that holds the numbers of which a column is the text."""
    return f"{HIDDEN}whole {name}"


def _framed(reading: Reading, whole: set[str]) -> Iterator[pl.Expr]:
    value, name = reading.value, reading.column.name
    if reading.column.kind == "label":
        value = value.fill_null(math.nan)
    yield value.alias(name)
    if reading.missing is not None:
        yield reading.missing.alias(missing_flag(name))
    if name in whole:
        yield reading.raw.cast(pl.Int64).alias(whole_number(name))


def _schema(path: Path, plan: Plan) -> tuple[dict[str, pl.DataType], list[str]]:
    """Return the columns of a file, or what is wrong with it."""
    try:
        if plan.data_format == "parquet":
            return dict(pl.read_parquet_schema(path)), []
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
            # Blank lines may stand before it.
            header = next(filter(None, plan.dialect.rows(file)), [])
            ends = file.newlines
    except UnicodeDecodeError:
        return {}, [where_not_utf8(path) or "its header is not UTF-8."]
    except csv.Error as error:
        return {}, [_why_no_header(path, plan, str(error))]
    except (pl.exceptions.PolarsError, *UNREADABLE) as error:
        reason = str(error).splitlines()[0]
        return {}, [f"cannot be read as {plan.data_format}: {reason}"]
    if ends == "\r":
        return {}, ["its lines end with CR alone. Save it with LF or CRLF as the end of a line."]
    doubled = sorted({name for name in header if header.count(name) > 1})
    found = [f"its header names column {n!r} {header.count(n)} times." for n in doubled]
    return dict.fromkeys(header, pl.String()), found


def _why_no_header(path: Path, plan: Plan, reason: str) -> str:
    try:
        csv_shape(path, plan.dialect)
    except (DataError, *UNREADABLE) as error:
        return str(error)
    return f"its header cannot be read: {reason}."


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
    # Behind a wrong separator there is no column; twenty lines of these would hide the reason.
    return _header_problem(plan, list(types)) or found if found else []


def _header_problem(plan: Plan, header: Sequence[str]) -> list[str]:
    """Return why a CSV file's header has no name of the config, where that shows."""
    if plan.data_format == "csv" and not header:
        return [
            "it has no header, only blank lines. Write the names of its columns as its first line."
        ]
    sep, first = plan.dialect.sep, header[0] if header else ""
    if plan.data_format == "csv" and re.fullmatch(r"(?i)sep=.?", first):
        says = first[4:] or sep
        return [
            f"its first line {first + (sep if len(header) > 1 else '')!r} is for Excel. Delete that "
            f"line, and write sep: {json.dumps(says)} in the config."
        ]
    if plan.data_format != "csv" or len(header) != 1:
        return []
    others = [other for other in ",\t;|" if other != sep and other in first]
    advice = f" Write sep: {json.dumps(others[0])}." if others else ""
    return [f"its header {first!r} is one column: is sep {sep!r} right?{advice}"]


def _csv_types(plan: Plan) -> dict[str, pl.DataType]:
    """Return the type to parse each column in: text where the columns read from it disagree."""
    wanted: dict[str, set[str]] = {}
    for column in plan.in_files:
        if plan.null_values:
            wanted[column.origin] = {"str"}
            continue
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
    # What a function makes is of one type.
    for col in plan.read_features:
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
    # Dates and times have no such example.
    dates = any(kind.startswith(("Date", "Time")) for kind in kinds)
    such = "" if dates else f", such as {example}"
    shared = ", which share a table" if len(columns) > 1 else ""
    return (
        f"{types}{shared}: as {dtype} the same value would be two tokens{such}. Write it with one "
        "type everywhere."
    )
