"""The columns of a dataset config: a dict per column, checked alone and against the others.

An experiment may use some of them (``use_features``) and change them (``feature_specs``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuxictr_stem.config import column_rules, schema
from fuxictr_stem.config import column_words as words
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import Column, read_entries
from fuxictr_stem.errors import Problem, short, suggest
from fuxictr_stem.models.expressions import PoolingEncoder, parse_encoder

Columns = list[dict[str, Any]]

_OF_VECTORS = ("pretrain_dim", "pretrain_usage", "freeze_emb")


def read_columns(
    feature_cols: Any, label_col: Any, data_format: str | None, problems: Problems
) -> dict[str, Columns]:
    """Check and expand ``feature_cols`` and ``label_col``; return those that could be read."""
    lists: dict[str, list[Column]] = {}
    readable = {}
    for key, shape, value in (
        ("feature_cols", schema.Feature, feature_cols),
        ("label_col", schema.Label, [label_col] if isinstance(label_col, dict) else label_col),
    ):
        before = len(problems)
        lists[key] = list(read_entries(shape.model_fields, value, key, problems))
        readable[key] = len(problems) == before
    features, labels = lists["feature_cols"], lists["label_col"]
    problems.at(str).add_all(_problems(features, labels, readable, data_format))
    if readable["feature_cols"]:
        used = [entry.values for entry in features if entry.values["active"]]
        if all(col["type"] == words.META for col in used):
            text = "must have an active column that is not meta."
            problems.add("feature_cols", text, "Add one.")
    return {
        key: [_normalised(entry.values) for entry in entries]
        for key, entries in lists.items()
        if readable[key]
    }


def _problems(
    features: list[Column],
    labels: list[Column],
    readable: Mapping[str, bool],
    data_format: str | None,
) -> Iterator[Problem]:
    for entry in features:
        if entry.complete:
            yield from _column_problems(entry, data_format)
    yield from column_rules.name_problems(features, labels)
    for entry in labels:
        if {"missing", "fill_na"} <= entry.values.keys():
            text = "and fill_na exclude each other: a missing label is either filled or left out."
            yield entry.problem("missing", text, "Keep one of them.")
    if readable["label_col"]:
        yield from column_rules.combined_problems(labels)
        yield from column_rules.parent_problems(labels)
    # Columns would be blamed for what others, which could not be read, lack.
    if all(readable.values()):
        yield from column_rules.copy_problems(features, labels)
    if readable["feature_cols"]:
        yield from column_rules.sharing_problems(features)


def use_features_problems(names: Sequence[str] | None, cols: Columns) -> Iterator[Problem]:
    """Yield why ``use_features`` does not name active columns, each once, and not only meta columns."""
    if names is None:
        return
    key = "use_features"
    types = {col["name"]: col["type"] for col in cols if col["active"]}
    unknown = [name for name in names if name not in types]
    for name in unknown:
        yield Problem(key, f"{name!r} is not an active column.", suggest(name, types))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Problem(key, f"names twice: {', '.join(twice)}.")
    if not unknown and all(types[name] == words.META for name in names):
        yield Problem(key, "must name a column that is not meta.")


def read_feature_specs(params: dict[str, Any], cols: Columns, problems: Problems) -> None:
    """Check ``feature_specs`` against the columns; settle it into one dict per column, or None."""
    specs, used = params.get("feature_specs"), params.get("use_features")
    params["feature_specs"] = [] if specs else None
    if not specs:
        return
    by_name = {c["name"]: c for c in cols if c["active"] and (not used or c["name"] in used)}
    at_entries = problems.at(str)
    for entry in read_entries(schema.FEATURE_CHANGES, specs, "feature_specs", problems):
        name = entry.values["name"]
        col = by_name.get(name)
        if col is None:
            near = suggest(name, by_name)
            at_entries.add(entry.place, f"{name!r} is not a column in use.", near)
            continue
        at_entries.add_all(_misfit_problems(entry, col["type"], "pretrained_emb" in col))
        params["feature_specs"].append(entry.values)


def _misfit_problems(entry: Column, column_type: str, has_vectors: bool) -> Iterator[Problem]:
    """Yield the keys of a column, or of changes to it, that are not for columns of its kind."""
    for key, value in entry.values.items():
        types = schema.column_types(schema.Feature.model_fields[key])
        if types and column_type not in types and value is not None:
            yield entry.problem(key, f"is for {' and '.join(types)} columns, not {column_type}.")
        elif key in _OF_VECTORS and not has_vectors:
            yield entry.problem(key, "is for a column with pretrained_emb.")
    encoder = parse_encoder(entry.values.get("feature_encoder"))
    if column_type != words.SEQUENCE and any(isinstance(step, PoolingEncoder) for step in encoder):
        text = f"pools a sequence, but the column is {column_type}."
        yield entry.problem("feature_encoder", text, "Use nn.Linear, or leave it out.")


def _normalised(col: dict[str, Any]) -> dict[str, Any]:
    # FuxiCTR takes a key that is there for one that is set; only an encoder may be null.
    kept = {k: v for k, v in col.items() if v is not None or k == "feature_encoder"}
    if kept.get("active") is False:
        # FuxiCTR loads the vectors of inactive columns, too, and fails.
        kept.pop("pretrained_emb", None)
    return kept


def _column_problems(entry: Column, data_format: str | None) -> Iterator[Problem]:
    col = entry.values
    kind, dtype, is_csv = col["type"], col["dtype"], data_format == "csv"
    has_vectors = kind == words.EMBEDDING or bool(col.get("pretrained_emb"))
    yield from _misfit_problems(entry, kind, has_vectors)
    call = words.function_call(col.get("preprocess"), col["name"])
    if call and kind not in (words.CATEGORICAL, words.NUMERIC, words.SEQUENCE):
        text = f"a function makes categorical, numeric and sequence columns, not {kind}."
        yield entry.problem("preprocess", text)
    if kind == words.NUMERIC and dtype == "str":
        yield entry.problem("dtype", "must be int or float for a numeric column, found 'str'.")
    if kind == words.SEQUENCE and dtype in ("int", "float") and is_csv:
        yield entry.problem("dtype", f"must be str for a sequence in a CSV file, found {dtype!r}.")
    if kind == words.EMBEDDING:
        if is_csv:
            yield entry.problem("type", "embedding needs parquet, since it holds lists of numbers.")
        if "pretrain_dim" not in col:
            text = "an embedding column needs pretrain_dim, the width of its vectors."
            yield Problem(entry.place, text)
    shares = col.get("share_embedding") is not None
    if not col.get("remap", True) and (
        kind == words.SEQUENCE or kind == words.CATEGORICAL and not shares
    ):
        yield entry.problem(
            "remap",
            "must be True: FuxiCTR counts no vocabulary without it.",
            "Leave it out; for raw ids that only group rows, use type: meta.",
        )
    if "fill_na" in col:
        yield from _fill_problems(entry, "str" if kind == words.SEQUENCE else dtype)


def _fill_problems(entry: Column, dtype: str) -> Iterator[Problem]:
    fill = entry.values["fill_na"]
    if entry.values["type"] == words.EMBEDDING:
        text = "is not for an embedding column: every row has its vector."
        yield entry.problem("fill_na", text)
        return
    is_int = isinstance(fill, int) and not isinstance(fill, bool)
    fits = {
        "str": is_int or isinstance(fill, (str, float)),
        "int": is_int and abs(fill) < 2**63,
        "float": (is_int or isinstance(fill, float)) and abs(fill) <= sys.float_info.max,
    }
    if not fits[dtype]:
        yield entry.problem("fill_na", f"must fit dtype {dtype}, found {short(fill)}.")
