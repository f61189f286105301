"""What is odd about a cache's ids and numbers: found while building, reported by every run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.data.encoding.column_tally import Tally
from fuxictr_stem.data.encoding.fill_values import Fill
from fuxictr_stem.data.source.columns import RESERVED

UNKNOWN = "Columns whose ids are mostly unknown, so that a model has learned nothing about them"
FILLS = "Missing values that the model cannot tell from real ones"
ROUNDED = "Numbers that float32 cannot tell apart"
APART = "Values written in two ways, which get different ids"

_ROWS_LOOKED_AT = 10_000
_VALUES_COMPARED = 1000

Shares = Mapping[str, Mapping[str, float]]
"""By split and column, the share of its ids that are the unknown one."""


class Remark(NamedTuple):
    """A sentence or two on a column, under a heading that similar ones share."""

    heading: str
    column: str
    text: str


def unknown_shares(tallies: Mapping[str, Mapping[str, Tally]]) -> dict[str, dict[str, float]]:
    """Return the share of unknown ids, by split and column."""
    return {
        split: {
            name: tally.unknown / max(tally.values, 1)
            for name, tally in columns.items()
            if tally.unknown is not None
        }
        for split, columns in tallies.items()
    }


def unknown_remarks(
    shares: Shares,
    frames: Mapping[str, pl.LazyFrame],
    vocabularies: Mapping[str, Mapping[Any, int]],
) -> Iterator[Remark]:
    """Yield the columns of later splits of which fewer than half as many values are known as of train.

    Args:
        shares: The shares of unknown ids.
        frames: The columns of each split, with missing values filled.
        vocabularies: The tokens of each column.
    """
    for split, columns in shares.items():
        for name, share in columns.items():
            in_train = shares["train"][name]
            if split == "train" and share == 1:
                text = f"column {name!r}: all ids of train are the unknown one."
            elif share > 0.5 and 2 * (1 - share) < 1 - in_train:
                text = (
                    f"column {name!r}: {percent(share)} of the ids of {split} are unknown, "
                    f"{percent(in_train)} of train's{_example(frames[split], name, vocabularies[name])}."
                )
            else:
                continue
            yield Remark(UNKNOWN, name, text)


def fill_remarks(
    fills: Collection[Fill], tallies: Mapping[str, Mapping[str, Tally]]
) -> Iterator[Remark]:
    """Yield the columns in which a fill value is a real value, too."""
    for fill in fills:
        counts = [columns[fill.name] for columns in tallies.values()]
        missing, clashes = (sum(getattr(t, key) for t in counts) for key in ("missing", "clashes"))
        text = fill.remark(missing, clashes)
        if text:
            yield Remark(FILLS, fill.name, text)


def rounded_remarks(tallies: Mapping[str, Mapping[str, Tally]]) -> Iterator[Remark]:
    """Yield the columns of numbers so large that float32 makes neighbours one."""
    names = dict.fromkeys(name for columns in tallies.values() for name in columns)
    for name in names:
        counts = [columns[name] for columns in tallies.values() if columns[name].rounded]
        if counts:
            rows, value, stored = sum(t.rounded for t in counts), *counts[0].example
            yield Remark(
                ROUNDED,
                name,
                f"{name!r}: {_rows(rows)} of at least 2^24 are rounded, such as {value} to "
                f"{stored:.0f}: neighbouring numbers become one. Give a feature a normalizer, or "
                "subtract a constant (and divide) before.",
            )


def twice_written(name: str, tokens: Collection[Any]) -> Remark | None:
    """Return the remark on numbers that stand in a table's texts as '12' and as '12.0'."""
    twice = [t for t in tokens if isinstance(t, str) and t.endswith(".0") and t[:-2] in tokens]
    if not twice:
        return None
    count = "1 value has" if len(twice) == 1 else f"{len(twice):,} values have"
    return Remark(
        APART,
        name,
        f"column {name!r}: {count} two ids, such as {min(twice)[:-2]!r} and {min(twice)!r}. Write each "
        "number one way.",
    )


def apart(
    name: str,
    tokens: Mapping[Any, int],
    owner: str,
    others: Mapping[Any, int],
    missing: Collection[Any],
) -> Remark | None:
    """Return the remark on columns that share a table, but no value of train; ``missing`` are none."""
    values = [token for token in tokens if token not in missing]
    there = [token for token in others if token not in missing]
    if not values or not there or any(value in others for value in values):
        return None
    samples = f"{min(values)!r} and {min(there)!r}"
    return Remark(
        APART,
        name,
        f"column {name!r} shares the table of {owner!r}, but in train they have no value in common, "
        f"such as {samples}. Write both in one form, or give each a table.",
    )


def no_vectors(name: str, tokens: Collection[Any], keys: Collection[Any]) -> Remark:
    """Return the remark on a column of which no token of train is a key of its pretrained file."""
    text = f"column {name!r}: none of its {len(tokens):,} tokens of train has a pretrained vector"
    if tokens and keys:
        text += f"; train has values such as {min(tokens)!r}, the file keys such as {min(keys)!r}"
    return Remark(APART, name, f"{text}. Write both in one form.")


def _example(frame: pl.LazyFrame, name: str, vocabulary: Mapping[Any, int]) -> str:
    """Return an unknown value, and one of train that it looks like, to end a sentence."""
    values = frame.select(name).head(_ROWS_LOOKED_AT).collect(engine="streaming")[name]
    if values.dtype == pl.List:
        values = values.explode()
    distinct = [v for v in values.unique(maintain_order=True) if v != ""]
    unknown = [v for v in distinct if v not in vocabulary or v in RESERVED]
    if not unknown:
        return "; they have no value"
    forms = {_form(token): token for token in vocabulary if token not in RESERVED}
    for value in unknown[:_VALUES_COMPARED]:
        if _form(value) in forms:
            like = forms[_form(value)]
            return f", such as {value!r}, where train has {like!r}; write both in one form"
    return f", such as {unknown[0]!r}"


def _form(token: Any) -> Any:
    """Return what a token is apart from how it is written: a number, or text without blanks and case."""
    text = str(token).strip().casefold()
    try:
        return float(text)
    except ValueError:
        return text


def percent(share: float) -> str:
    """Return a share as text."""
    return f"{100 * share:.1f} %"


def _rows(count: int) -> str:
    return "1 number" if count == 1 else f"{count:,} numbers"
