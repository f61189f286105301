"""Columns that files do not hold because the names of their folders do: ``day=2024-01-01/part-0.parquet``.

As pyarrow and pandas read them: keys and values are URL-decoded; a key whose values are whole numbers of
32 bits in all files is a column of these, every other one of text; ``__HIVE_DEFAULT_PARTITION__`` is a
missing value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

import polars as pl

_MISSING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?[0-9]+")


def folder_values(path: Path) -> dict[str, str | None]:
    """Return what the folders in a file's path say, by key; of two the one nearer to the file."""
    pairs = (name.split("=", 1) for name in path.parent.parts if "=" in name)
    return {unquote(k): None if v == _MISSING else unquote(v) for k, v in pairs}


def whole_keys(paths: Iterable[Path]) -> frozenset[str]:
    """Return the keys whose values are whole numbers in all of the files that have them."""
    whole: dict[str, bool] = {}
    for path in paths:
        for key, value in folder_values(path).items():
            whole[key] = whole.get(key, True) and (value is None or _is_whole(value))
    return frozenset(key for key, is_whole in whole.items() if is_whole)


def folder_columns(
    path: Path, wanted: Iterable[str], whole: frozenset[str]
) -> dict[str, tuple[pl.DataType, str | int | None]]:
    """Return the columns that the folders of a file give it: their types, and the value of all rows.

    ``wanted`` are columns that the file itself lacks, ``whole`` is of `whole_keys`.
    """
    columns: dict[str, tuple[pl.DataType, str | int | None]] = {}
    values = folder_values(path)
    for name in values.keys() & set(wanted):
        value = values[name]
        if name not in whole:
            columns[name] = pl.String(), value
        else:
            columns[name] = pl.Int64(), None if value is None else int(value)
    return columns


def _is_whole(value: str) -> bool:
    return _WHOLE.fullmatch(value) is not None and -(2**31) <= int(value) < 2**31
