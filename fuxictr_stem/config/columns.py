"""The columns of a dataset config: one dict a column, checked alone and against the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fuxictr_stem.config.checking import Problems, read_entries
from fuxictr_stem.config.nesting import check_combined, check_parents
from fuxictr_stem.config.relations import check_copies, check_names, check_sharing
from fuxictr_stem.config.schema import FEATURE, LABEL
from fuxictr_stem.config.values import (
    CATEGORICAL,
    EMBEDDING,
    META,
    NUMERIC,
    SEQUENCE,
    function_call,
)
from fuxictr_stem.errors import short
from fuxictr_stem.models.expressions import PoolingEncoder, parse_encoder

Columns = list[dict[str, Any]]


def read_columns(
    features: Any, labels: Any, data_format: str | None, place: str, problems: Problems
) -> tuple[Columns | None, Columns | None]:
    """Check and expand ``feature_cols`` and ``label_col``.

    Args:
        features: The config's ``feature_cols``.
        labels: The config's ``label_col``.
        data_format: ``csv`` or ``parquet``; None if that is wrong itself.
        place: Where the dataset stands.
        problems: Takes what is wrong.

    Returns:
        Features and labels, a dict a column; None for what has entries that could not be read.
    """
    listed = [labels] if isinstance(labels, dict) else labels
    start = len(problems.entries)
    placed = list(read_entries(FEATURE, features, f"{place}.feature_cols", problems))
    after_features = len(problems.entries)
    placed_labels = list(read_entries(LABEL, listed, f"{place}.label_col", problems))
    whole = after_features == start
    whole_labels = len(problems.entries) == after_features
    for entry in placed:
        if entry.whole:
            _check_column(entry.values, data_format, entry.place, problems)
    check_names(placed, placed_labels, problems)
    for entry in placed_labels:
        if "missing" in entry.values and "fill_na" in entry.values:
            problems.add(
                f"{entry.place}.missing",
                "stands beside fill_na: a missing label is either filled or left out.",
                "Keep one of them.",
            )
    if whole_labels:
        check_combined(placed_labels, problems)
        check_parents(placed_labels, problems)
    # Columns would be blamed for what others, which could not be read, lack.
    if whole and whole_labels:
        check_copies(placed, placed_labels, problems)
    if whole:
        check_sharing(placed, problems)
        if not any(e.values["active"] and e.values["type"] != META for e in placed):
            problems.add(
                f"{place}.feature_cols", "must have an active column that is not meta.", "Add one."
            )
    return (
        [_normalised(entry.values) for entry in placed] if whole else None,
        [_normalised(entry.values) for entry in placed_labels] if whole_labels else None,
    )


def check_encoder(col_type: str, encoder: Any, place: str, problems: Problems) -> None:
    """Note a pooling on a column that is no sequence."""
    pools = any(isinstance(step, PoolingEncoder) for step in parse_encoder(encoder))
    if pools and col_type != SEQUENCE:
        problems.add(
            f"{place}.feature_encoder",
            f"pools a sequence, but the column is {col_type}.",
            "Use nn.Linear, or leave it out.",
        )


def _normalised(col: dict[str, Any]) -> dict[str, Any]:
    # FuxiCTR takes a key that is there for one that is set; only an encoder may be null.
    kept = {k: v for k, v in col.items() if v is not None or k == "feature_encoder"}
    if kept.get("active") is False:
        # FuxiCTR loads the vectors of inactive columns, too, and fails.
        kept.pop("pretrained_emb", None)
    return kept


def _check_column(
    col: Mapping[str, Any], data_format: str | None, place: str, problems: Problems
) -> None:
    kind, dtype = col["type"], col["dtype"]
    for key in col:
        types = FEATURE[key].types
        if types and kind not in types and col[key] is not None:
            problems.add(f"{place}.{key}", f"is for {' and '.join(types)} columns, not {kind}.")
    check_encoder(kind, col.get("feature_encoder"), place, problems)
    call = function_call(col.get("preprocess"), col["name"])
    if call and kind not in (CATEGORICAL, NUMERIC, SEQUENCE):
        problems.add(
            f"{place}.preprocess",
            f"a function makes {CATEGORICAL}, {NUMERIC} and {SEQUENCE} columns, not {kind}.",
        )
    if kind == NUMERIC and dtype == "str":
        problems.add(f"{place}.dtype", "must be int or float for a numeric column, found 'str'.")
    if kind == SEQUENCE and dtype in ("int", "float") and data_format == "csv":
        problems.add(
            f"{place}.dtype", f"must be str for a sequence in a CSV file, found {dtype!r}."
        )
    if kind == EMBEDDING:
        if data_format == "csv":
            problems.add(f"{place}.type", "embedding holds lists of numbers: it needs parquet.")
        if "pretrain_dim" not in col:
            problems.add(place, "an embedding column needs pretrain_dim, the width of its vectors.")
    elif not col.get("pretrained_emb"):
        for key in ("pretrain_dim", "pretrain_usage", "freeze_emb"):
            if key in col and kind in FEATURE[key].types:
                problems.add(f"{place}.{key}", "is for a column with pretrained_emb.")
    shares = col.get("share_embedding") is not None
    if not col.get("remap", True) and (kind == SEQUENCE or kind == CATEGORICAL and not shares):
        problems.add(
            f"{place}.remap",
            "must be True: FuxiCTR counts no vocabulary without it.",
            "Leave it out; for raw ids that only group rows, use type: meta.",
        )
    _check_fill(col, place, problems)


def _check_fill(col: Mapping[str, Any], place: str, problems: Problems) -> None:
    if "fill_na" not in col:
        return
    fill, dtype = col["fill_na"], "str" if col["type"] == SEQUENCE else col["dtype"]
    a_number = isinstance(fill, (int, float)) and not isinstance(fill, bool)
    if col["type"] == EMBEDDING:
        problems.add(
            f"{place}.fill_na", "is not for an embedding column: every row has its vector."
        )
    elif (
        (dtype == "str" and not (a_number or isinstance(fill, str)))
        or (dtype == "int" and not (a_number and isinstance(fill, int) and abs(fill) < 2**63))
        or (dtype == "float" and not (a_number and _finite(fill)))
    ):
        problems.add(f"{place}.fill_na", f"must fit dtype {dtype}, found {short(fill)}.")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
