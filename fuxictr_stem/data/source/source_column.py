"""One column as it is read from files: its types there, and its values where folders' names hold it.

A file at ``day=2024-01-01/part-0.parquet`` has the column ``day``, as pyarrow and pandas read it: keys and
values are URL-decoded; a key whose values are whole numbers of 32 bits in all files is a column of these,
every other one of text; ``__HIVE_DEFAULT_PARTITION__`` is a missing value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

RESERVED = ("__PAD__", "__OOV__")
"""FuxiCTR's own tokens: no value can have their ids."""
DEFAULTS: dict[str, Any] = {"str": "", "int": 0, "float": 0.0}
"""What FuxiCTR fills a column of each dtype with."""
SPLITTER = "^"
"""What is between two tokens of a sequence, unless the config says otherwise."""
TYPES: dict[str, pl.DataType] = {"str": pl.String(), "int": pl.Int64(), "float": pl.Float64()}
"""What a column of each dtype is read as."""

_MISSING = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"-?[0-9]+")
WITHIN_INT64 = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
"""The types of which every value is a whole number of 64 bits."""
KEPT, PREDICTED = "to keep", "prediction_columns"
CARRIED = (KEPT, PREDICTED)
"""The kinds of a column that is carried along as it is, by what it is for; its ``dtype`` is "" for the
type of the file."""


@dataclass(frozen=True)
class Column:
    """One column: its name in the cache and its place in the files."""

    name: str  # name in the config and in the cache
    kind: str  # ``label``, the feature's ``type``, or one of `CARRIED`
    dtype: str  # ``str``, ``int`` or ``float``: what its values are after reading
    origin: str  # the column of the file that it is read from; "" for one that combines others
    splitter: str = SPLITTER  # between the tokens of a sequence
    dim: int = 0  # length of an embedding's vectors
    raw_id: bool = False  # a meta column that keeps its integers (``remap: false``)
    required: bool = False  # missing values are rejected
    fill: float | None = None  # what a missing label becomes, where the config says so
    # Value of a label that says that the row has none; NaN stands for null, too.
    missing: float | None = None
    combines: tuple[str, str] | None = None  # two labels whose product it is
    parent: str | None = None  # a label without which it must be 0
    null_values: tuple[str, ...] = ()  # fields of a CSV file that mean that a value is missing
    # How the files of training wrote its values (`written_kind`), where that decides its tokens.
    kinds: tuple[str, ...] = ()

    @property
    def filled(self) -> bool:
        """Whether a missing value becomes another one."""
        if self.kind == "label":
            return self.fill is not None
        return self.kind not in ("embedding", *CARRIED) and not self.required

    @property
    def described(self) -> str:
        """How messages call it."""
        if self.kind in CARRIED:
            return f"column {self.origin!r}"
        name = f"{'label' if self.kind == 'label' else 'column'} {self.name!r}"
        if self.combines:
            return f"{name} (both {' and '.join(map(repr, self.combines))})"
        return name if self.origin == self.name else f"{name} (read from {self.origin!r})"


def type_problem(column: Column, have: pl.DataType) -> str | None:
    """Return why a raw column cannot be read as declared, or None."""
    if column.kind in CARRIED:
        return None
    inner = inner_type(have)
    declared = f"is declared {column.dtype}, found {have}"
    if column.kind == "embedding":
        if inner is None or not inner.is_numeric():
            return f"an embedding column holds lists of numbers, found {have}."
    elif inner is not None:
        if column.kind != "sequence":
            return f"{declared}; lists are for sequences."
        if inner_type(inner) is not None or not (inner == pl.Null or rendering(inner)):
            return f"a sequence holds lists of text or numbers, found {have}."
    elif have != pl.Null and not rendering(have):
        return f"{declared}." + (" Store a number." if have == pl.Duration else "")
    elif column.dtype != "str" and have.is_temporal():
        return f"{declared}; declare str, or store a number."
    return _other_tokens(column, have)


def written_kind(dtype: str, have: pl.DataType) -> str:
    """Return how a type writes, or holds, the tokens of a column; "" where that does not matter.

    Types that hold numbers in one way, or with "whole", hold 0.1 alike.
    """
    if dtype == "int" or (inner_type(have) or have) == pl.Null:
        return ""
    if dtype == "str":
        return rendering(have)
    if have == pl.Boolean or rendering(have) == "int":
        return "whole"
    return str(have) if have in (pl.Float16, pl.Float32) else "double"


def are_alike(dtype: str, kinds: Collection[str]) -> bool:
    """Say whether columns of these kinds give one value one token."""
    if dtype == "str":
        return len(kinds) < 2 or set(kinds) <= {"text", "int"}
    return len(set(kinds) - {"whole"}) < 2


def read_as_whole(column: Column, have: pl.DataType) -> bool:
    """Say whether floats are read as the text of whole numbers, which all of training's values were.

    pandas makes floats of whole numbers as soon as one is missing.
    """
    return column.dtype == "str" and column.kinds == ("int",) and have.is_float()


def _other_tokens(column: Column, have: pl.DataType) -> str | None:
    """Return why a type would give values other tokens than training's did, or None."""
    kind = written_kind(column.dtype, have)
    if not column.kinds or not kind or read_as_whole(column, have):
        return None
    if are_alike(column.dtype, {kind, *column.kinds}):
        return None
    advice = "Give it the type that it had in training."
    if "text" in column.kinds or "int" in column.kinds:
        advice = "Cast it to text as training's values were written"
        is_float = (inner_type(have) or have).is_float()
        advice += (
            ', or, where they are whole numbers, to those: astype("Int64").' if is_float else "."
        )
    return (
        f"was {' and '.join(column.kinds)} in training, found {have}, which writes the same value as "
        f"another token. {advice}"
    )


def rendering(have: pl.DataType) -> str:
    """Return how a type, or a list's inner type, writes its values as text.

    Types of one rendering write every value alike. "text" may hold anything, and "" stands for a type
    that has no text.

    Example:
        >>> rendering(pl.Int8()), rendering(pl.List(pl.String())), rendering(pl.Float32())
        ('int', 'text', 'Float32')
    """
    have = inner_type(have) or have
    if is_text(have):
        return "text"
    if have.is_integer() or (isinstance(have, pl.Decimal) and have.scale == 0):
        return "int"
    if isinstance(have, pl.Decimal):
        return f"Decimal of scale {have.scale}"
    # Datetimes of another unit or time zone are written differently, and so are some floats: 123456789
    # is 123456790.0 in a Float32.
    written = have == pl.Boolean or have.is_float() or have.is_temporal()
    return str(have) if written and have != pl.Duration else ""


def is_text(have: pl.DataType) -> bool:
    """Say whether a type holds text."""
    return have == pl.String or isinstance(have, (pl.Categorical, pl.Enum))


def inner_type(have: pl.DataType) -> pl.DataType | None:
    """Return the type of a list's elements, or None for a type that is no list."""
    if not isinstance(have, (pl.List, pl.Array)):
        return None
    return have.inner() if isinstance(have.inner, type) else have.inner


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


def _is_whole(value: str) -> bool:
    return _WHOLE.fullmatch(value) is not None and -(2**31) <= int(value) < 2**31
