"""What a dataset config means for reading: which column comes from where, and what FuxiCTR gets.

FuxiCTR's ``FeatureProcessor`` decides what an id is, so its column dicts go to it as they are,
except where it would fail or quietly mean something else:

- a copy (``preprocess: copy_from(x)``) of a column with another dtype is read from the file under
  its own dtype (FuxiCTR keeps whatever type ``x`` happens to have);
- a sequence is text, also where a parquet file holds lists (FuxiCTR's ``fill_null`` fails there);
- a meta column without ``remap`` is read by itself and is an integer, also where text is declared;
- an inactive column is left out unless something copies it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import (
    combined_labels,
    copied_column,
    copy_chain,
    function_call,
)
from fuxictr_stem.data.source.derived_columns import columns_read, expression
from fuxictr_stem.data.source.dialect import Dialect, dialect_of
from fuxictr_stem.data.source.source_column import CARRIED, RESERVED, SPLITTER, Column, type_problem
from fuxictr_stem.errors import ConfigError, raise_all, suggest

BLOCK_ROWS = 1 << 18
"""The most rows that are read at a time."""


@dataclass(frozen=True)
class Plan:
    """The reading side of a dataset config."""

    dataset_id: str
    data_format: str  # ``csv`` or ``parquet``
    dialect: Dialect  # the special characters of a CSV file
    null_values: tuple[str, ...]  # fields of a CSV file that mean that a value is missing
    min_categr_count: int  # least count of a token that gets an id of its own
    group_id: str | None  # name of the column that groups rows for gAUC
    columns: tuple[Column, ...]  # what is read
    features: list[dict[str, Any]]  # FuxiCTR's ``feature_cols``, adapted as the module says
    labels: list[str]
    # The config's entries of the features that a function makes.
    derived: tuple[dict[str, Any], ...] = ()

    @property
    def in_files(self) -> list[Column]:
        """The columns that are read from the files."""
        return [column for column in self.columns if not column.combines]

    @cached_property
    def made(self) -> set[str]:
        """The features that a function makes."""
        return {col["name"] for col in self.derived}

    @property
    def read_features(self) -> list[dict[str, Any]]:
        """FuxiCTR's dicts of the features that are read or copied."""
        return [col for col in self.features if col["name"] not in self.made]

    def only(self, features: Collection[str], labels: Collection[str] = ()) -> Plan:
        """Return the plan that reads some features and labels, and what these are made of."""
        derived = {col["name"]: col for col in self.derived}
        copied = {col["name"]: copied_column(col.get("preprocess"), "") for col in self.features}
        read = {column.name: column for column in self.columns}
        needed, more = set[str](), [*features, *labels]
        while more:
            name = more.pop()
            if name in needed:
                continue
            needed.add(name)
            if name in derived:
                more += expression(derived[name]).meta.root_names()
            elif name not in read:
                more.append(str(copied[name]))
            else:
                more += filter(None, (*(read[name].combines or ()), read[name].parent))
        return replace(
            self,
            columns=tuple(c for c in self.columns if c.name in needed),
            features=[col for col in self.features if col["name"] in needed],
            labels=[label for label in self.labels if label in needed],
            derived=tuple(col for col in self.derived if col["name"] in needed),
        )

    def source_of(self, feature: str) -> Column:
        """Return the column that a feature's values are read as: its own, or one that FuxiCTR copies."""
        name = copy_chain(feature, {col["name"]: col for col in self.features})[-1]
        return next(column for column in self.columns if column.name == name)


def column_problems(
    plan: Plan, types: Mapping[str, pl.DataType], names: Collection[str]
) -> Iterator[str]:
    """Yield columns that a plan reads and that are absent, or of a type that cannot be read as declared.

    ``types`` are those of the columns that are there; ``names`` are all that could be meant.
    """
    for column in plan.in_files:
        have = types.get(column.origin)
        if have is None:
            what = "label" if column.kind == "label" else "feature"
            use = f"copied by {what}" if column.name != column.origin else what
            use = column.kind if column.kind in CARRIED else f"{use} {column.name!r}"
            yield f"there is no column {column.origin!r} ({use}).{suggest(column.origin, names)}"
        elif problem := type_problem(column, have):
            yield f"{column.described}: {problem}"


def plan_columns(dataset: Mapping[str, Any]) -> Plan:
    """Work out what to read for a dataset, checked and normalised, and what to hand to FuxiCTR.

    Raises:
        ConfigError: A column is declared in a way that cannot be encoded; all of them are named.
    """
    declared = {col["name"]: col for col in [*dataset["feature_cols"], *dataset["label_col"]]}
    problems = [problem for col in declared.values() for problem in _problems(col)]
    raise_all(ConfigError, f"dataset {dataset['dataset_id']!r}", problems)

    columns = [_label(col, declared) for col in dataset["label_col"]]
    features, derived, sources = [], list[dict[str, Any]](), set()
    for col in dataset["feature_cols"]:
        adapted = _adapted(col)
        features.append(adapted)
        if not col["active"]:
            continue
        if function_call(col.get("preprocess"), col["name"]):
            adapted.pop("preprocess")
            derived.append(dict(col))
            reads = columns_read(col, declared)
            sources.update(reads)
            if col["name"] in reads:
                columns.append(_feature(col, col["name"]))
            continue
        source = copied_column(col.get("preprocess"), col["name"])
        if source is not None and _copied_by_fuxictr(col, declared.get(source)):
            sources.add(source)
        else:
            adapted.pop("preprocess", None)
            columns.append(_feature(col, copy_chain(col["name"], declared)[-1]))
    kept = [col for col in features if col["active"] or col["name"] in sources]
    inactive = [declared[col["name"]] for col in kept if not col["active"]]
    columns += [_feature(col, copy_chain(col["name"], declared)[-1]) for col in inactive]
    null_values = tuple(dataset.get("null_values") or ())
    return Plan(
        dataset_id=dataset["dataset_id"],
        data_format=dataset["data_format"],
        dialect=dialect_of(dataset),
        null_values=null_values,
        min_categr_count=dataset.get("min_categr_count", 1),
        group_id=dataset.get("group_id"),
        columns=tuple(replace(column, null_values=null_values) for column in columns),
        features=kept,
        labels=[col["name"] for col in dataset["label_col"]],
        derived=tuple(derived),
    )


def _problems(col: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the cache cannot do with a column that FuxiCTR could be given."""
    name, fill = col["name"], col.get("fill_na")
    if "/" in name or name == ".":
        yield (
            f"column {name!r}: h5 files need a name without '/', and not '.'. Name it otherwise, with "
            f"preprocess: copy_from({name})."
        )
    elif name == "*" or (name.startswith("^") and name.endswith("$")):
        yield (
            f"column {name!r}: polars takes the name for a pattern of names. Rename the column in the "
            f"files."
        )
    if isinstance(fill, str):
        tokens = (
            fill.split(col.get("splitter", SPLITTER)) if col.get("type") == "sequence" else [fill]
        )
        reserved = [token for token in RESERVED if token in tokens]
        if reserved:
            yield (
                f"column {name!r}: fill_na {fill!r} is FuxiCTR's own token {reserved[0]}. Choose another "
                "text."
            )
    if _raw_id(col) and "fill_na" in col and not _is_int64(fill):
        yield (
            f"column {name!r}: fill_na must be a whole number of 64 bits, since remap: false keeps it "
            f"as the id, found {fill!r}."
        )


def _is_int64(value: Any) -> bool:
    try:
        return float(int(value)) == float(value) and abs(int(value)) < 2**63
    except (TypeError, ValueError, OverflowError):
        return False


def _raw_id(col: Mapping[str, Any]) -> bool:
    return col.get("type") == "meta" and not col.get("remap", True)


def _adapted(col: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a feature's dict for FuxiCTR's processor (see the module)."""
    adapted = copy.deepcopy(dict(col))
    if not col["active"]:
        kept = ("name", "active", "type", "dtype", "fill_na", "splitter")
        adapted = {key: adapted[key] for key in kept if key in adapted}
    if col["type"] == "sequence":
        adapted["dtype"] = "str"
    elif col["type"] == "embedding":
        # A type that the processor has no fill value for: filling fails on lists.
        adapted["dtype"] = "list"
    elif _raw_id(col):
        adapted["dtype"] = "int"
        if "fill_na" in col:
            adapted["fill_na"] = int(col["fill_na"])
    return adapted


def _copied_by_fuxictr(col: Mapping[str, Any], source: Mapping[str, Any] | None) -> bool:
    """Whether FuxiCTR's own copy means the same: only then its order of filling nulls counts."""
    if source is None or "type" not in source or source["name"] == col["name"]:
        return False
    kinds = {col["type"], source["type"]}
    if "embedding" in kinds or ("sequence" in kinds and len(kinds) == 2):
        return False
    if _raw_id(col) or _raw_id(source):
        return False
    same_splitter = col.get("splitter", SPLITTER) == source.get("splitter", SPLITTER)
    return bool(col["dtype"] == source["dtype"] and same_splitter)


def _label(col: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> Column:
    name, parent = col["name"], col.get("parent")
    pair = combined_labels(col.get("preprocess"))
    if pair:
        return Column(name, "label", "float", "", combines=pair, parent=parent)
    fill, missing = col.get("fill_na"), col.get("missing")
    return Column(
        name=name,
        kind="label",
        dtype="float",
        origin=copy_chain(name, declared)[-1],
        required=fill is None and (missing is None or not math.isnan(missing)),
        fill=fill,
        missing=missing,
        parent=parent,
    )


def _feature(col: Mapping[str, Any], origin: str) -> Column:
    dtype = {"sequence": "str", "embedding": "float"}.get(col["type"], col["dtype"])
    return Column(
        name=col["name"],
        kind=col["type"],
        dtype="int" if _raw_id(col) else dtype,
        origin=origin,
        splitter=col.get("splitter", SPLITTER),
        dim=col.get("pretrain_dim", 0),
        raw_id=_raw_id(col),
        # FuxiCTR fills missing text with "", which is no integer.
        required=_raw_id(col) and col["dtype"] == "str" and "fill_na" not in col,
    )
