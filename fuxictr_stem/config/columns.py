"""The columns of a dataset config: a dict per column, checked alone and against the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from fuxictr_stem.config import schema
from fuxictr_stem.config.column_words import (
    CATEGORICAL,
    EMBEDDING,
    META,
    NUMERIC,
    SEQUENCE,
    function_call,
)
from fuxictr_stem.config.nesting import combined_problems, parent_problems
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_entries
from fuxictr_stem.config.relations import copy_problems, name_problems, sharing_problems
from fuxictr_stem.errors import Problem, short
from fuxictr_stem.models.expressions import PoolingEncoder, parse_encoder

Columns = list[dict[str, Any]]


def read_columns(
    features: Any, labels: Any, data_format: str | None, place: str, problems: Problems
) -> dict[str, Columns]:
    """Check and expand ``feature_cols`` and ``label_col``; return those that could be read."""
    label_list = [labels] if isinstance(labels, dict) else labels
    lists = {}
    readable = {}
    for key, shape, entries in (
        ("feature_cols", schema.Feature, features),
        ("label_col", schema.Label, label_list),
    ):
        before = len(problems)
        lists[key] = list(read_entries(shape.model_fields, entries, f"{place}.{key}", problems))
        readable[key] = len(problems) == before
    placed, placed_labels = lists.values()
    for entry in placed:
        if entry.complete:
            problems.add_all(_column_problems(entry.values, data_format, entry.place))
    problems.add_all(name_problems(placed, placed_labels))
    for entry in placed_labels:
        if {"missing", "fill_na"} <= entry.values.keys():
            problems.add(
                f"{entry.place}.missing",
                "comes with fill_na: a missing label is either filled or left out.",
                "Keep one of them.",
            )
    if readable["label_col"]:
        problems.add_all(combined_problems(placed_labels))
        problems.add_all(parent_problems(placed_labels))
    # Columns would be blamed for what others, which could not be read, lack.
    if all(readable.values()):
        problems.add_all(copy_problems(placed, placed_labels))
    if readable["feature_cols"]:
        problems.add_all(sharing_problems(placed))
        if not any(e.values["active"] and e.values["type"] != META for e in placed):
            problems.add(
                f"{place}.feature_cols", "must have an active column that is not meta.", "Add one."
            )
    return {
        key: [_normalised(entry.values) for entry in entries]
        for key, entries in lists.items()
        if readable[key]
    }


def misfit_problems(col: Mapping[str, Any], column_type: str, place: str) -> Iterator[Problem]:
    """Yield the keys of a column, or of changes to it, that are not for columns of its type."""
    for key, value in col.items():
        types = schema.column_types(schema.Feature.model_fields[key])
        if types and column_type not in types and value is not None:
            yield Problem(
                f"{place}.{key}", f"is for {' and '.join(types)} columns, not {column_type}."
            )
    pools = any(isinstance(s, PoolingEncoder) for s in parse_encoder(col.get("feature_encoder")))
    if pools and column_type != SEQUENCE:
        yield Problem(
            f"{place}.feature_encoder",
            f"pools a sequence, but the column is {column_type}.",
            "Use nn.Linear, or leave it out.",
        )


def _normalised(col: dict[str, Any]) -> dict[str, Any]:
    # FuxiCTR takes a key that is there for one that is set; only an encoder may be null.
    kept = {k: v for k, v in col.items() if v is not None or k == "feature_encoder"}
    if kept.get("active") is False:
        # FuxiCTR loads the vectors of inactive columns, too, and fails.
        kept.pop("pretrained_emb", None)
    return kept


def _column_problems(
    col: Mapping[str, Any], data_format: str | None, place: str
) -> Iterator[Problem]:
    kind, dtype = col["type"], col["dtype"]
    yield from misfit_problems(col, kind, place)
    call = function_call(col.get("preprocess"), col["name"])
    if call and kind not in (CATEGORICAL, NUMERIC, SEQUENCE):
        text = f"a function makes {CATEGORICAL}, {NUMERIC} and {SEQUENCE} columns, not {kind}."
        yield Problem(f"{place}.preprocess", text)
    if kind == NUMERIC and dtype == "str":
        text = "must be int or float for a numeric column, found 'str'."
        yield Problem(f"{place}.dtype", text)
    if kind == SEQUENCE and dtype in ("int", "float") and data_format == "csv":
        text = f"must be str for a sequence in a CSV file, found {dtype!r}."
        yield Problem(f"{place}.dtype", text)
    if kind == EMBEDDING:
        if data_format == "csv":
            yield Problem(f"{place}.type", "embedding holds lists of numbers: it needs parquet.")
        if "pretrain_dim" not in col:
            text = "an embedding column needs pretrain_dim, the width of its vectors."
            yield Problem(place, text)
    elif not col.get("pretrained_emb"):
        for key in ("pretrain_dim", "pretrain_usage", "freeze_emb"):
            if key in col and kind in schema.column_types(schema.Feature.model_fields[key]):
                yield Problem(f"{place}.{key}", "is for a column with pretrained_emb.")
    shares = col.get("share_embedding") is not None
    if not col.get("remap", True) and (kind == SEQUENCE or kind == CATEGORICAL and not shares):
        yield Problem(
            f"{place}.remap",
            "must be True: FuxiCTR counts no vocabulary without it.",
            "Leave it out; for raw ids that only group rows, use type: meta.",
        )
    if "fill_na" in col:
        yield from _fill_problems(col["fill_na"], kind, dtype, f"{place}.fill_na")


def _fill_problems(fill: Any, kind: str, dtype: str, place: str) -> Iterator[Problem]:
    if kind == EMBEDDING:
        yield Problem(place, "is not for an embedding column: every row has its vector.")
        return
    dtype = "str" if kind == SEQUENCE else dtype
    is_int = isinstance(fill, int) and not isinstance(fill, bool)
    fits = {
        "str": is_int or isinstance(fill, (str, float)),
        "int": is_int and abs(fill) < 2**63,
        "float": (is_int or isinstance(fill, float)) and _is_finite(fill),
    }
    if not fits[dtype]:
        yield Problem(place, f"must fit dtype {dtype}, found {short(fill)}.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
