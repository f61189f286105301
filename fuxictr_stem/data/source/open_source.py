"""The columns of each file, checked against what a dataset config reads."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META, SEQUENCE
from fuxictr_stem.data.source.column_plan import Plan, column_problems
from fuxictr_stem.data.source.csv_shape import csv_shape
from fuxictr_stem.data.source.dialect import UNREADABLE, open_bytes, where_not_utf8
from fuxictr_stem.data.source.source_column import (
    SPLITTER,
    Column,
    are_alike,
    folder_values,
    inner_type,
    whole_keys,
    written_kind,
)
from fuxictr_stem.data.source.split_files import Part, Source
from fuxictr_stem.errors import DataError, first_line, raise_all

logger = logging.getLogger(__name__)


def open_source(plan: Plan, files: Mapping[str, list[Path]]) -> Source:
    """Return the files of each split as a source, after a check that they have the columns of a plan.

    Raises:
        DataError: Columns are missing, doubled, of a type that cannot be read as declared, or not
            alike in all files; all problems are named.
    """
    problems: list[str] = []
    parts: dict[str, list[Part]] = {split: [] for split in files}
    of_whole = pl.String() if plan.data_format == "csv" else pl.Int64()
    whole = whole_keys(path for paths in files.values() for path in paths)
    for split, paths in files.items():
        for path in paths:
            types, file_problems = _schema(path, plan)
            lacking = {column.origin for column in plan.in_files} - {*types}
            constants = {
                name: str(int(value)) if value is not None and name in whole else value
                for name, value in folder_values(path).items()
                if name in lacking
            }
            every = types | {n: of_whole if n in whole else pl.String() for n in constants}
            file_problems = file_problems or _header_problem(plan, list(every))
            file_problems = file_problems or list(column_problems(plan, every, every))
            problems += [f"{path} ({split}): {problem}" for problem in file_problems]
            parts[split].append(Part(path, every, tuple(types), constants))
    places = [(part, f"{part.path} ({split})") for split in parts for part in parts[split]]
    heading = f"dataset {plan.dataset_id!r}"
    # Where training has read them, each is compared with it.
    tables = [columns for columns in _tables(plan) if not columns[0].kinds]
    clashes = (text for columns in tables for text in _clash(columns, places))
    raise_all(DataError, heading, problems or clashes)
    _warn_of_splitters(plan, [part for split in parts.values() for part in split])
    return Source(plan, parts)


def _warn_of_splitters(plan: Plan, parts: Sequence[Part]) -> None:
    """Say what splits the sequences that name no splitter, other than lists of a parquet file."""
    silent = [c["name"] for c in plan.features if c["type"] == SEQUENCE and "splitter" not in c]
    texts = {
        column.name
        for column in plan.in_files
        if column.name in silent
        and any(inner_type(part.types[column.origin]) is None for part in parts)
    }
    for name in sorted(texts):
        logger.warning(
            "Column %s is a sequence without a splitter: %r is assumed between its tokens, as in "
            "FuxiCTR. Set splitter in its entry of feature_cols.",
            *(name, SPLITTER),
        )


def _schema(path: Path, plan: Plan) -> tuple[dict[str, pl.DataType], list[str]]:
    """Return the columns of a file, or what is wrong with it."""
    try:
        if plan.data_format == "parquet":
            return dict(pl.read_parquet_schema(path)), []
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
            # Blank lines may come before it.
            header = next(filter(None, plan.dialect.rows(file)), [])
            ends = file.newlines
    except UnicodeDecodeError:
        return {}, [where_not_utf8(path) or "its header is not UTF-8."]
    except csv.Error as error:
        try:
            # It names the line, if it rejects the file, too.
            csv_shape(path, plan.dialect)
        except (DataError, *UNREADABLE) as of_line:
            return {}, [str(of_line)]
        return {}, [f"its header cannot be read: {error}."]
    except (pl.exceptions.PolarsError, *UNREADABLE) as error:
        return {}, [f"cannot be read as {plan.data_format}: {first_line(error)}"]
    if not header:
        text = "it has only blank lines. Write the column names as its first line."
        return {}, [text]
    if re.fullmatch(r"(?i)sep=.?", header[0]):
        sep = header[0][4:] or plan.dialect.sep
        return {}, [
            f"its first line 'sep={sep}' is for Excel. Delete that line, and write sep: {json.dumps(sep)} "
            "in the config."
        ]
    if ends == "\r":
        return {}, ["its lines end with CR only. Save it with LF or CRLF line ends."]
    return dict.fromkeys(header, pl.String()), [
        f"its header names column {name!r} {header.count(name)} times."
        for name in sorted(set(header))
        if header.count(name) > 1
    ]


def _header_problem(plan: Plan, header: Sequence[str]) -> list[str]:
    """Return why a CSV file's header has no name of the config, where that shows."""
    is_right = all(column.origin in header for column in plan.in_files)
    # With a wrong separator there is no column; twenty lines of these would hide the reason.
    if plan.data_format != "csv" or len(header) != 1 or is_right:
        return []
    sep, first = plan.dialect.sep, header[0]
    others = [other for other in ",\t;|" if other != sep and other in first]
    advice = (
        f" Write sep: {json.dumps(others[0])}, or separate fields by {sep!r}." if others else ""
    )
    return [f"its header {first!r} is one column: is sep {sep!r} right?{advice}"]


def _tables(plan: Plan) -> list[list[Column]]:
    """Return the columns that each table's tokens are read from."""
    tables: dict[str, list[Column]] = {}
    # What a function makes is of one type, and what is no whole number is found by value.
    for col in plan.read_features:
        if col["active"] and col["type"] in (CATEGORICAL, SEQUENCE, META):
            table = tables.setdefault(col.get("share_embedding") or col["name"], [])
            table.append(plan.source_of(col["name"]))
    return list(tables.values())


def with_kinds(source: Source) -> Plan:
    """Return the plan of files that were read, with how they wrote the values of each column."""
    parts = [part for parts in source.parts.values() for part in parts]

    def kinds(columns: Sequence[Column]) -> set[str]:
        written = {written_kind(c.dtype, part.types[c.origin]) for c in columns for part in parts}
        return written - {""}

    # A preprocess function may take apart how text is written.
    texts = [c for c in source.plan.in_files if c.kind != "label" and c.dtype == "str"]
    kinds_of = {column.name: kinds([column]) for column in texts}
    for columns in _tables(source.plan):
        for column in columns:
            kinds_of[column.name] = kinds_of.get(column.name, set()) | kinds(columns)
    written = (
        replace(c, kinds=tuple(sorted(kinds_of.get(c.name, ())))) for c in source.plan.columns
    )
    return replace(source.plan, columns=tuple(written))


def _clash(columns: Sequence[Column], places: Sequence[tuple[Part, str]]) -> Iterator[str]:
    """Yield types of the columns of one table that would give one value two ids."""
    dtype = columns[0].dtype
    example = "'1' and '1.0'" if dtype == "str" else "0.1, which a Float32 rounds"
    first_of_kind: dict[str, str] = {}
    for column in columns:
        for part, place in places:
            have = part.types[column.origin]
            if kind := written_kind(dtype, have):
                where = f"{column.described} is {have} in {place}"
                first_of_kind.setdefault(kind, where)
    if are_alike(dtype, first_of_kind):
        return
    kinds = set(first_of_kind) - (set() if dtype == "str" else {"whole"})
    types = " and ".join(where for kind, where in first_of_kind.items() if kind in kinds)
    # Dates and times have no such example.
    dates = any(kind.startswith(("Date", "Time")) for kind in kinds)
    such = "" if dates else f", such as {example}"
    shared = ", which share a table" if len(columns) > 1 else ""
    yield (
        f"{types}{shared}: as {dtype}, one value would become two different tokens{such}. Write it "
        "with one type everywhere."
    )
