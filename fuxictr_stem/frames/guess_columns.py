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
)
from fuxictr_stem.data.source.readings import answers_as_numbers
from fuxictr_stem.data.source.source_column import inner_type, is_text
from fuxictr_stem.errors import DataError, first_line, short, suggest
from fuxictr_stem.frames.training_rows import Splits, one_row

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
    """The columns of a config, and what is wrong with what cannot be as the caller wishes."""

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
    splits: Splits, features: Mapping[str, Any], labels: Mapping[str, Any], group_id: str | None
) -> Guesses:
    """Say what the columns of the rows are.

    ``features`` are by name: None to guess all, a type such as ``numeric``, or FuxiCTR's keys; ``labels``
    likewise, without types. A ``group_id`` that is no feature, too, becomes a meta column.
    """
    facts, from_csv = _facts(splits, features, labels), splits.data_format == "csv"
    schema = splits.frames["train"].collect_schema()
    made = [_feature(name, wish, schema, facts, from_csv) for name, wish in features.items()]
    if group_id is not None and group_id not in features:
        made.append(_group(group_id, schema[group_id]))
    answers = [_label(name, wish, schema, facts) for name, wish in labels.items()]
    return Guesses(
        [guess for guess in made if isinstance(guess, Guess)],
        [guess for guess in answers if isinstance(guess, Guess)],
        [problem for problem in (*made, *answers) if isinstance(problem, str)],
    )


def origin(name: str, wish: Any) -> str | None:
    """Return the column of the rows that a column is read from; None where a function makes it."""
    preprocess = wish.get("preprocess") if isinstance(wish, Mapping) else None
    return copied_column(preprocess, name) if isinstance(preprocess, str) else name


def absent(columns: Iterable[str], names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield columns that are in no split, or not in each; `names` are those of each split."""
    for column in columns:
        lacking = [split for split, there in names.items() if column not in there]
        if lacking:
            there = names[lacking[0]]
            near = suggest(column, there) or f" It has {', '.join(there[:_MOST_NAMED])}."
            sep = next((c for c in ";\t|" if c in there[0]), "") if len(there) == 1 else ""
            near += f" Is it several columns, separated by sep={sep!r}?" if sep else ""
            yield f"{', '.join(lacking)}: there is no column {column!r}.{near}"


def _facts(splits: Splits, features: Collection[str], labels: Collection[str]) -> dict[str, Any]:
    """Return, in one pass over each split, the least, the mean and the gaps of columns."""
    facts: dict[str, Any] = {}
    for split, frame in splits.frames.items():
        sums: dict[str, pl.Expr] = {}
        for name, have in frame.collect_schema().items():
            if name not in features and name not in labels:
                continue
            value = pl.col(name)
            finite = pl.when(value.is_finite()).then(value) if have.is_float() else value
            sums[f"{split} {name} gaps"] = finite.null_count()
            if split != "train":
                continue
            sums[f"values {name}"] = value.count()
            if have.is_integer():
                sums |= {f"min {name}": value.min(), f"max {name}": value.max()}
            if have.is_numeric() or is_text(have):
                if name in labels and is_text(have):
                    value = answers_as_numbers(value.cast(pl.String).str.strip_chars())
                value = value.cast(pl.Float64, strict=False)
                value = pl.when(value.is_finite()).then(value)
                sums[f"mean {name}"] = value.mean()
                sums[f"whole {name}"] = (value == value.round()).all()
        try:
            named = [expr.alias(key) for key, expr in sums.items()]
            facts |= zip(sums, one_row(frame, named), strict=True)
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
    settings = dict(wish or {})
    source = origin(name, settings)
    have = schema.get(source) if source else None
    if have is None:
        # A function makes it; the check of the config says what is missing.
        return Guess({"name": name, **settings}, "as you say")
    kind = settings.get("type")
    guess = _by_type(kind, source or name, have, facts, from_csv)
    if isinstance(guess, str):
        # A column of dates is read as text if that is what the caller says.
        as_wished = Guess({"name": name, **settings}, "as you say")
        return as_wished if "dtype" in settings else f"{about}: {guess}"
    if "preprocess" in settings:
        # What a copy's missing values become is the copied column's affair.
        guess.entry.pop("fill_na", None)
    reason = f"; {', '.join(settings)}: as you say" if settings else ""
    entry = {"name": name, **guess.entry, **settings}
    if entry.get("normalizer") is None:
        entry.pop("normalizer", None)
    return Guess(entry, guess.why + reason)


def _by_type(
    kind: Any, name: str, have: pl.DataType, facts: Mapping[str, Any], from_csv: bool
) -> Guess | str:
    """Return the entry of a column that is to be of some type, or of the type that fits; or a problem."""
    inner = inner_type(have)
    if not facts.get(f"values {name}", 1):
        return f"has no value. Leave it out: ignore=[{name!r}]."
    if inner is not None:
        if kind not in (None, SEQUENCE):
            return Guess({"type": kind, "dtype": "float"}, f"it holds {have}")
        if not (is_text(inner) or inner.is_integer()):
            return (
                f"holds lists of {inner}, and a sequence is of text or whole numbers. For vectors of one "
                f"length write {{'type': 'embedding', 'pretrain_dim': <length>}}."
            )
        tokens = {"type": SEQUENCE, "dtype": "str", "feature_encoder": _POOLING}
        return Guess(tokens, "lists; the mean of the tokens' embeddings")
    if have.is_temporal():
        return (
            f"holds {have}. Turn it into a number or a text, such as the hour or the day of the week, or "
            f"leave it out: ignore=[{name!r}]."
        )
    if kind == SEQUENCE and is_text(have):
        return Guess({"type": SEQUENCE, "dtype": "str", "feature_encoder": _POOLING}, "text")
    if not (is_text(have) or have.is_numeric() or have == pl.Boolean):
        return f"holds {have}, which no feature can be. Leave it out: ignore=[{name!r}]."
    if kind is None:
        kind = NUMERIC if have.is_float() or isinstance(have, pl.Decimal) else CATEGORICAL
    if kind == NUMERIC:
        mean = facts.get(f"mean {name}")
        fill = 0.0 if mean is None or not math.isfinite(mean) else mean
        entry: Entry = {"type": NUMERIC, "dtype": "float"}
        entry |= {"normalizer": "StandardScaler", "fill_na": fill}
        return Guess(entry, "floats" if have.is_float() else f"it holds {have}")
    return Guess({"type": kind, **_ids(kind, name, have, facts, from_csv)}, _what(have))


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
    whole, boolean = have.is_integer(), have == pl.Boolean
    kinds = {"text": is_text(have), "True and False": boolean, "whole numbers": whole}
    return next((words for words, fits in kinds.items() if fits), str(have))


def _label(name: str, wish: Any, schema: pl.Schema, facts: Mapping[str, Any]) -> Guess | str:
    """Return a label's entry, or what is wrong with it."""
    about = f"labels[{name!r}]"
    if wish is not None and not isinstance(wish, Mapping):
        return f"{about}: must be a dict of settings, found {short(wish)}."
    settings = dict(wish or {})
    entry = {"name": name, "dtype": "float", **settings}
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
    if not gaps or {"missing", "fill_na"} & settings.keys():
        return Guess(entry, "as you say" if settings else "")
    rows = "1 row has" if gaps == 1 else f"{gaps:,} rows have"
    why = (
        f"{rows} no such label, and {'is' if gaps == 1 else 'are'} left out of its loss and metrics"
    )
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
