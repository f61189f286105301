"""Rows, labels and ids of an input, by FuxiCTR's rules stated again in plain Python.

`oracle_files` says what the files hold, `oracle_values` what a cell is. Neither polars nor the
package's own code of data takes part.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.support.oracle.files import SPLITS, Files, NoReading, read_files
from tests.support.oracle.values import fill_of, fits_float32, number, raw_id, text

# Share of the values from which a warning of unknown ids must not be missing.
_SURELY_UNKNOWN = 0.9
# Mean or deviation from which numbers without a normalizer are warned of.
_UNSCALED = 10
Column = Mapping[str, Any]
Values = dict[str, list[Any]]


@dataclass
class Right:
    """What the cache of an input must hold.

    Attributes:
        rows: Rows of each split.
        arrays: By split and column: numbers of shape (rows,) or (rows, length).
        warned: What the log must warn of: a topic, and a name in the warning.
        warnable: Columns that a warning may be about, though it need not be there.
        doubts: Why a refusal would be right, too.
    """

    rows: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, dict[str, Any]] = field(default_factory=dict)
    warned: set[tuple[str, str]] = field(default_factory=set)
    warnable: set[str] = field(default_factory=set)
    doubts: set[str] = field(default_factory=set)


@dataclass
class _Words:
    """A vocabulary; 0 is padding, ``unknown`` every token that is not in it."""

    ids: dict[Any, int]
    unknown: int


def right_reading(dataset: Mapping[str, Any]) -> Right:
    """Return what the cache of a dataset must hold.

    Args:
        dataset: The dataset config, checked, with the paths of existing files.

    Raises:
        NoReading: The input must be refused.
    """
    files = read_files(dataset)
    right = Right(doubts=files.doubts, warned={("beside", name) for name in files.beside})
    for split, tables in files.splits.items():
        right.rows[split] = sum(table.rows for table in tables)
        right.arrays[split] = {}
        if not right.rows[split]:
            raise NoReading(f"{split} has no rows", split)
    for col in dataset["label_col"]:
        for split, labels in _labels(col, files, right.doubts).items():
            right.arrays[split][col["name"]] = np.array(labels)
    features = [col for col in dataset["feature_cols"] if col.get("active", True)]
    values = {col["name"]: _feature(col, dataset, files, right) for col in features}
    words = _vocabularies(features, values, dataset.get("min_categr_count", 1), right)
    for col in features:
        name = col["name"]
        for split, array in _encoded(col, values[name], words.get(name)).items():
            right.arrays[split][name] = array
        if col["type"] in ("categorical", "sequence"):
            right.warned |= _unknown(col, right, words[name].unknown)
        elif col["type"] == "numeric" and "normalizer" not in col:
            numbers = values[name]["train"]
            right.warned |= _merged_by_float32(col, numbers)
            if max(abs(np.mean(numbers)), np.std(numbers)) > _UNSCALED:
                right.warnable.add(name)
    return right


def _cells(col: Column, split: str, files: Files) -> Any:
    """Yield each cell of a column with the name of its file."""
    name = _origin(col)
    for table in files.splits[split]:
        if name not in table.columns:
            raise NoReading(f"no column {name}", table.path.name, name)
        for raw in table.columns[name]:
            yield raw, table.path.name


def _origin(col: Column) -> str:
    copied = re.fullmatch(r"copy_from\((.*)\)", col.get("preprocess") or "")
    return str(copied[1] if copied else col["name"])


def _labels(col: Column, files: Files, doubts: set[str]) -> Values:
    found: Values = {}
    fill, missing = col.get("fill_na"), col.get("missing")
    for split in SPLITS:
        found[split] = []
        for raw, file in _cells(col, split, files):
            value = _named(number, raw, "float", doubts, file=file, name=col["name"])
            nothing = value is None
            if missing is not None:
                nothing |= value == missing or (math.isnan(missing) and value != value)
                nothing &= value is not None or math.isnan(missing)
            if nothing and fill is not None:
                value = fill
            elif nothing and missing is not None:
                value = math.nan
            elif value is None or not fits_float32(value):
                raise NoReading("a label is missing or not finite", file, col["name"])
            found[split].append(value)
    return found


def _named(read: Any, *args: Any, file: str, name: str) -> Any:
    """Read a cell; a fault names file and column."""
    try:
        return read(*args)
    except NoReading as error:
        raise NoReading(str(error), file, name) from None


def _feature(col: Column, dataset: Column, files: Files, right: Right) -> Values:
    """Return a feature's values by split with missing ones filled: text, numbers or lists of tokens."""
    found: Values = {}
    name, fill = col["name"], _fill(col, dataset["feature_cols"])
    shared = [col, *(c for c in dataset["feature_cols"] if c["name"] == col.get("share_embedding"))]
    if len({kind for c in shared for kind in _types(c, files)}) > 1:
        right.doubts.add("types that differ")
    for split in SPLITS:
        found[split] = []
        gaps = False
        for raw, file in _cells(col, split, files):
            value = _named(_value, raw, col, right.doubts, file=file, name=_origin(col))
            if value is None:
                if raw_id(col) and col["dtype"] == "str" and "fill_na" not in col:
                    raise NoReading("an id is missing", file, name)
                gaps, value = True, fill
            if isinstance(value, float) and not fits_float32(value):
                raise NoReading("a number is not finite", file, name)
            found[split].append(value)
        if gaps and split == "train" and col["type"] in ("categorical", "meta"):
            real = [_value(raw, col, set()) for raw, _ in _cells(col, split, files)]
            if fill in real:
                right.warned.add(("fill", name))
    return found


def _types(col: Column, files: Files) -> set[str]:
    """Return the kinds of types from which text is made; lists and their elements are one."""
    if col["type"] == "numeric" or col["dtype"] == "int":
        return set()
    tables = [table for tables in files.splits.values() for table in tables]
    kinds = {table.types.get(_origin(col), "").removeprefix("list of ") for table in tables}
    return kinds - {"null"}


def _value(raw: Any, col: Column, doubts: set[str]) -> Any:
    if col["type"] == "sequence":
        if isinstance(raw, list):
            # A list that is empty is text without a character: one place of padding.
            return [text(token) for token in raw] or [""]
        whole = text(raw)
        return None if whole is None else whole.split(col.get("splitter", "^"))
    if raw_id(col):
        return number(raw, "int", doubts)
    if col["dtype"] == "str":
        return text(raw)
    return number(raw, col["dtype"], doubts)


def _fill(col: Column, columns: list[dict[str, Any]]) -> Any:
    """Return what a missing value becomes; FuxiCTR fills from the last column to the first."""
    source = next((c for c in columns if c["name"] == _origin(col)), col)
    alike = source["dtype"] == col["dtype"] and not raw_id(source) and not raw_id(col)
    alike &= (source["type"] == "sequence") == (col["type"] == "sequence")
    alike &= source.get("splitter", "^") == col.get("splitter", "^")
    fill = fill_of(source if alike and columns.index(source) > columns.index(col) else col)
    return str(fill).split(col.get("splitter", "^")) if col["type"] == "sequence" else fill


def _vocabularies(
    features: list[dict[str, Any]], values: dict[str, Values], least: int, right: Right
) -> dict[str, _Words]:
    found: dict[str, _Words] = {}
    for col in features:
        if col["type"] == "numeric" or raw_id(col):
            continue
        name = col["name"]
        meta = col["type"] == "meta"
        tokens = [v for split in (SPLITS if meta else ("train",)) for v in values[name][split]]
        if col["type"] == "sequence":
            tokens = [token for row in tokens for token in row if token is not None]
        if {"__PAD__", "__OOV__"} & {*tokens}:
            right.doubts.add("tokens that FuxiCTR has for itself")
        missing = "" if meta else col.get("fill_na", "")
        own = _counted(tokens, 1 if meta else col.get("min_categr_count", least), missing)
        if not own.ids:
            raise NoReading("an empty vocabulary", name)
        owner = col.get("share_embedding")
        found[name] = _merged(found[owner], own) if owner else own
    return found


def _counted(tokens: list[Any], least: int, missing: Any) -> _Words:
    counts = Counter(tokens).items()
    words = [t for t, n in sorted(counts, key=lambda c: (-c[1], c[0])) if n >= least]
    words = [token for token in words if token != missing]
    if words and not isinstance(words[0], str):
        words.sort()
    return _Words({token: i for i, token in enumerate(words, 1)}, len(words) + 1)


def _merged(shared: _Words, own: _Words) -> _Words:
    """Add the tokens of one vocabulary to another, which both columns then have."""
    for token in own.ids:
        if token not in shared.ids:
            shared.ids[token] = shared.unknown
            shared.unknown += 1
    return shared


def _encoded(col: Column, values: Values, words: _Words | None) -> dict[str, Any]:
    if col["type"] == "numeric":
        return _scaled(col, values)
    if words is None:
        return {split: np.array(column) for split, column in values.items()}
    if col["type"] != "sequence":
        return {
            split: np.array([words.ids.get(v, words.unknown) for v in column])
            for split, column in values.items()
        }
    length = col.get("max_len") or max(map(len, values["train"]))
    missing = col.get("fill_na", "")
    found = {}
    for split, column in values.items():
        found[split] = np.zeros((len(column), length), dtype=int)
        for row, tokens in zip(found[split], column, strict=True):
            ids = [
                0 if t is None or t == missing else words.ids.get(t, words.unknown) for t in tokens
            ]
            if col.get("padding", "post") == "post":
                row[: len(ids[:length])] = ids[:length]
            else:
                row[length - len(ids[-length:]) :] = ids[-length:]
    return found


def _scaled(col: Column, values: Values) -> dict[str, Any]:
    train = np.array(values["train"], dtype=float)
    shift, scale = 0.0, 1.0
    if col.get("normalizer") == "StandardScaler":
        shift, scale = math.fsum(train) / len(train), float(train.std())
        if train.min() == train.max():
            shift, scale = float(train[0]), 1.0
    elif col.get("normalizer") == "MinMaxScaler":
        shift, scale = float(train.min()), float(train.max() - train.min())
    found = {s: (np.array(v, dtype=float) - shift) / (scale or 1.0) for s, v in values.items()}
    if not all(fits_float32(v) for column in found.values() for v in column):
        raise NoReading("a number is beyond float32 when scaled", col["name"])
    return found


def _unknown(col: Column, right: Right, unknown: int) -> set[tuple[str, str]]:
    """Return the warning that is needed where valid or test hold almost nothing that train knows."""
    shares = {}
    for split in SPLITS:
        ids = right.arrays[split][col["name"]]
        ids = ids[ids != 0]
        shares[split] = (ids == unknown).mean() if len(ids) >= 4 else 0.0
        if "share_embedding" in col or (ids == unknown).sum() > 0.5 * len(ids):
            right.warnable.add(col["name"])
    if shares["train"] > 1 - _SURELY_UNKNOWN or max(shares.values()) < _SURELY_UNKNOWN:
        return set()
    return {("unknown", col["name"])}


def _merged_by_float32(col: Column, numbers: list[float]) -> set[tuple[str, str]]:
    """Return the warning that is needed where whole numbers become one as float32."""
    large = {int(n) for n in numbers if abs(n) >= 2**24}
    merged = len({float(np.float32(n)) for n in large}) < len(large)
    return {("float32", col["name"])} if merged else set()
