"""What each column of the rows is, by its type: the entries of feature_cols and label_col.

What the caller says about a column comes first; the rest is guessed:

    text, categories            categorical, as text; a missing value is an unknown one
    whole numbers, True/False   categorical, as numbers; a missing value is a number that train lacks
    floats                      numeric, StandardScaler; a missing value is the mean of train
    lists of text or integers   sequence, the mean of its tokens' embeddings
    all others                  are rejected, with the next step
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.config.column_words import (
    CATEGORICAL,
    COLUMN_TYPES,
    META,
    NUMERIC,
    SEQUENCE,
    copied_column,
    function_call,
)
from fuxictr_stem.data.source.columns import inner_type, is_text
from fuxictr_stem.data.source.readings import answers_as_numbers
from fuxictr_stem.errors import DataError, first_line, short, suggest
from fuxictr_stem.frames.inputs import Splits, one_row

_POOLING = "layers.MaskedAveragePooling()"
_MOST_NAMED, _MOST_LISTED = 20, 8
# Beyond these no whole number is read.
_LEAST, _MOST = -(2**63) + 2, 2**63 - 2

Entry = dict[str, Any]


class Guess(NamedTuple):
    """An entry of a config's column, and why it is so."""

    entry: Entry
    why: str


class Guesses(NamedTuple):
    """The columns of a config, and what is wrong with what was asked for."""

    features: list[Guess]
    labels: list[Guess]
    problems: list[str]


def as_mapping(columns: Any) -> dict[Any, Any]:
    """Return columns, given as a name, a list of names or a mapping, as a mapping."""
    if isinstance(columns, Mapping):
        return dict(columns)
    names = [columns] if isinstance(columns, str) else list(columns)
    return dict.fromkeys(names)


def guess_columns(
    splits: Splits,
    features: Mapping[str, Any],
    labels: Mapping[str, Any],
    group_id: str | None,
) -> Guesses:
    """Say what the columns of the rows are.

    Args:
        splits: The rows.
        features: By name, None to guess all, a type such as ``numeric``, or FuxiCTR's keys.
        labels: By name, None or FuxiCTR's keys.
        group_id: The column of the groups of gAUC; one that is no feature, too, becomes a meta column.
    """
    problems: list[str] = []
    schema = splits.schemas["train"]
    facts = _facts(splits, schema, features, labels)
    made_features, made_labels = [], []
    for name, wish in features.items():
        guess = _feature(name, wish, schema, facts, splits.data_format == "csv")
        problems += [guess] if isinstance(guess, str) else []
        made_features += [guess] if isinstance(guess, Guess) else []
    for name, wish in labels.items():
        guess = _label(name, wish, schema, facts)
        problems += [guess] if isinstance(guess, str) else []
        made_labels += [guess] if isinstance(guess, Guess) else []
    if group_id is not None and group_id not in features:
        group = _group(group_id, schema[group_id])
        problems += [group] if isinstance(group, str) else []
        made_features += [group] if isinstance(group, Guess) else []
    return Guesses(made_features, made_labels, problems)


def origin(name: str, wish: Any) -> str | None:
    """Return the column of the rows that a column is read from; None where a function makes it."""
    preprocess = wish.get("preprocess") if isinstance(wish, Mapping) else None
    if not isinstance(preprocess, str):
        return name
    return copied_column(preprocess, name)


def reads_any(wish: Any) -> bool:
    """Say whether a function makes a column, which may read any others."""
    preprocess = wish.get("preprocess") if isinstance(wish, Mapping) else None
    return isinstance(preprocess, str) and bool(function_call(preprocess, ""))


def absent(columns: Iterable[str], names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield columns that are in no split, or not in each; `names` are those of each split."""
    for column in columns:
        lacking = [split for split, there in names.items() if column not in there]
        if lacking:
            there = names[lacking[0]]
            near = suggest(column, there) or f" It has {', '.join(there[:_MOST_NAMED])}."
            sep = next((c for c in ";\t|" if c in there[0]), "") if len(there) == 1 else ""
            near += f" Is it several, set apart by sep={sep!r}?" if sep else ""
            yield f"{', '.join(lacking)}: there is no column {column!r}.{near}"


def _facts(
    splits: Splits, schema: pl.Schema, features: Iterable[str], labels: Collection[str]
) -> dict[str, Any]:
    """Return, in one pass over each split, the least, the mean and the gaps of columns of numbers."""
    schemas = splits.schemas
    sums: dict[str, dict[str, pl.Expr]] = {"train": {}, "valid": {}, "test": {}}
    for name in dict.fromkeys([*features, *labels]):
        if name in schema:
            sums["train"][f"values {name}"] = pl.col(name).count()
        for split, frame_schema in schemas.items():
            if name in frame_schema:
                value = pl.col(name)
                if frame_schema[name].is_float():
                    value = pl.when(value.is_finite()).then(value)
                sums[split][f"{split} {name} gaps"] = value.null_count()
        if name in schema and (schema[name].is_numeric() or is_text(schema[name])):
            value = pl.col(name)
            if name in labels and is_text(schema[name]):
                value = answers_as_numbers(value.cast(pl.String).str.strip_chars())
            value = value.cast(pl.Float64, strict=False)
            value = pl.when(value.is_finite()).then(value)
            sums["train"][f"mean {name}"] = value.mean()
            sums["train"][f"whole {name}"] = (value == value.round()).all()
        if name in schema and schema[name].is_integer():
            sums["train"] |= {f"min {name}": pl.col(name).min(), f"max {name}": pl.col(name).max()}
    facts: dict[str, Any] = {}
    for split, frame in splits.frames.items():
        named = [expr.alias(key) for key, expr in sums[split].items()]
        try:
            facts |= zip(sums[split], one_row(frame, named), strict=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{split}: {splits.paths[split]} cannot be read: {first_line(error)}"
            ) from error
    return facts


def _feature(
    name: str, wish: Any, schema: pl.Schema, facts: Mapping[str, Any], from_csv: bool
) -> Guess | str:
    """Return a feature's entry, or what is wrong with it."""
    about = f"features[{name!r}]"
    if isinstance(wish, str):
        if wish not in COLUMN_TYPES:
            near = suggest(wish, COLUMN_TYPES)
            return f"{about}: must be one of {', '.join(COLUMN_TYPES)}, found {wish!r}.{near}"
        wish = {"type": wish}
    elif wish is not None and not isinstance(wish, Mapping):
        return f"{about}: must be a type such as 'numeric', or a dict of settings, found {short(wish)}."
    given = dict(wish or {})
    source = origin(name, given)
    have = schema.get(source) if source else None
    if have is None:
        # A function makes it; the check of the config says what is missing.
        return Guess({"name": name, **given}, "as you say")
    kind = given.get("type")
    guess = _by_type(kind, source or name, have, facts, from_csv)
    if isinstance(guess, str):
        # A column of dates is read as text if that is what the caller says.
        return (
            Guess({"name": name, **given}, "as you say")
            if "dtype" in given
            else f"{about}: {guess}"
        )
    if "preprocess" in given:
        # What a copy's missing values become is the copied column's affair.
        guess.entry.pop("fill_na", None)
    said = f"; {', '.join(given)}: as you say" if given else ""
    entry = {"name": name, **guess.entry, **given}
    if entry.get("normalizer") is None:
        entry.pop("normalizer", None)
    return Guess(entry, guess.why + said)


def _by_type(
    kind: Any, name: str, have: pl.DataType, facts: Mapping[str, Any], from_csv: bool
) -> Guess | str:
    """Return the entry of a column that is to be of some type, or of the type that fits; or a problem."""
    inner = inner_type(have)
    if not facts.get(f"values {name}", 1):
        return f"has no value. Leave it out: ignore=[{name!r}]."
    if inner is not None:
        if kind == "embedding" or kind not in (None, SEQUENCE):
            return Guess({"type": kind, "dtype": "float"}, f"it holds {have}")
        if not (is_text(inner) or inner.is_integer()):
            return (
                f"holds lists of {inner}, and a sequence is of text or whole numbers. For vectors of one "
                f"length write {{'type': 'embedding', 'pretrain_dim': <length>}}."
            )
        entry = {"type": SEQUENCE, "dtype": "str", "feature_encoder": _POOLING}
        return Guess(entry, "lists; the mean of the tokens' embeddings")
    if have.is_temporal():
        return (
            f"holds {have}. Make a number or a text of it, such as the hour or the day of the week, or "
            f"leave it out: ignore=[{name!r}]."
        )
    if kind == SEQUENCE and is_text(have):
        return Guess({"type": SEQUENCE, "dtype": "str", "feature_encoder": _POOLING}, "text")
    if not (is_text(have) or have.is_numeric() or have == pl.Boolean):
        return f"holds {have}, which no feature can be. Leave it out: ignore=[{name!r}]."
    if kind is None:
        kind = NUMERIC if have.is_float() or isinstance(have, pl.Decimal) else CATEGORICAL
    if kind == NUMERIC:
        return Guess(_numeric(name, facts), "floats" if have.is_float() else f"it holds {have}")
    return Guess({"type": kind, **_ids(kind, name, have, facts, from_csv)}, _what(have))


def _numeric(name: str, facts: Mapping[str, Any]) -> Entry:
    mean = facts.get(f"mean {name}")
    fill = 0.0 if mean is None or not math.isfinite(mean) else mean
    return {"type": NUMERIC, "dtype": "float", "normalizer": "StandardScaler", "fill_na": fill}


def _ids(
    kind: str, name: str, have: pl.DataType, facts: Mapping[str, Any], from_csv: bool
) -> Entry:
    """Return how ids are read: as whole numbers where they are that, so that 3 and 3.0 are one id."""
    whole = have == pl.Boolean or have.is_integer() or have.is_float() and facts[f"whole {name}"]
    least, most = facts.get(f"min {name}") or 0, facts.get(f"max {name}") or 0
    # In a CSV file 007 may be another id than 7.
    if not whole or from_csv or not (_LEAST <= least <= most <= _MOST):
        return {"dtype": "str"}
    if kind == META:
        return {"dtype": "int", "remap": False}
    return {"dtype": "int", "fill_na": min(-1, least - 1)}


def _what(have: pl.DataType) -> str:
    if is_text(have):
        return "text"
    return (
        "True and False"
        if have == pl.Boolean
        else "whole numbers"
        if have.is_integer()
        else str(have)
    )


def _label(name: str, wish: Any, schema: pl.Schema, facts: Mapping[str, Any]) -> Guess | str:
    """Return a label's entry, or what is wrong with it."""
    about = f"labels[{name!r}]"
    if wish is not None and not isinstance(wish, Mapping):
        return f"{about}: must be a dict of settings, found {short(wish)}."
    given = dict(wish or {})
    entry = {"name": name, "dtype": "float", **given}
    have = schema.get(name)
    if have is None:
        return Guess(entry, "as you say")
    is_answer = is_text(have) and facts[f"mean {name}"] is not None
    if not (have.is_numeric() or have == pl.Boolean or is_answer):
        return (
            f"{about}: holds {have}, and a label is a number: 0 and 1, or what a regression predicts. "
            f"Convert it first."
        )
    gaps = sum(facts.get(f"{split} {name} gaps", 0) for split in ("train", "valid", "test"))
    if not gaps or {"missing", "fill_na"} & given.keys():
        return Guess(entry, "as you say" if given else "")
    rows = "1 row has" if gaps == 1 else f"{gaps:,} rows have"
    why = f"{rows} no such label, and {'leaves' if gaps == 1 else 'leave'} its loss and metrics"
    return Guess({**entry, "missing": math.nan}, why)


def _group(name: str, have: pl.DataType) -> Guess | str:
    """Return the entry of a column that only groups rows."""
    if have.is_integer() and have != pl.UInt64:
        return Guess({"name": name, "type": META, "dtype": "int", "remap": False}, "groups of gAUC")
    if is_text(have) or have.is_integer():
        return Guess({"name": name, "type": META, "dtype": "str"}, "groups of gAUC")
    return f"group_id: the column {name!r} holds {have}. Make it text or whole numbers."


def column_summary(guesses: Guesses) -> Iterator[str]:
    """Yield a line per type with the names of its columns, and what was guessed of labels."""
    by_type: dict[str, list[str]] = {}
    for guess in guesses.features:
        by_type.setdefault(guess.entry["type"], []).append(guess.entry["name"])
    for kind, names in by_type.items():
        more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
        what = "groups only; name it in features to learn from it, too" if kind == META else ""
        yield f"  {kind}: {', '.join(names[:_MOST_LISTED])}{more} {what}".rstrip()
    yield from (f"  label {g.entry['name']}: {g.why}" for g in guesses.labels if g.why)
