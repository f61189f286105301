"""What is odd about a cache's columns, ids and numbers: found while building, reported by every run."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from fuxictr_stem.data.encoding.encode import Tally
from fuxictr_stem.data.encoding.fill_values import Fill
from fuxictr_stem.data.source.source_column import RESERVED
from fuxictr_stem.runtime.text_table import amount

UNKNOWN = "Columns whose ids are mostly unknown, so that a model has learned nothing about them"
FILLS = "Missing values that the model cannot tell from real ones"
ROUNDED = "Numbers that float32 cannot tell apart"
APART = "Values written in two ways, which get different ids"
SCALES = "Numbers too large for a model to learn from"
UNSPLIT = "Sequences that are not split into tokens"

LARGEST = 10.0
"""The largest mean, in absolute value, or standard deviation of a feature's numbers."""

MOST_FILLED = 0.01
"""The largest share of missing numbers that may become one value without a remark."""

_SEPARATORS = "|,;"
_ROWS_LOOKED_AT = 10_000
_VALUES_COMPARED = 1000

Tallies = Mapping[str, Mapping[str, Tally]]
"""By split and column: what was counted while rows became ids."""


class Remark(NamedTuple):
    """A sentence or two on a column, under a heading that similar ones share."""

    heading: str
    column: str
    text: str


def percent(share: float) -> str:
    """Return a share as text.

    Example:
        >>> percent(0.125)
        '12.5 %'
    """
    return f"{100 * share:.1f} %"


def unknown_shares(tallies: Tallies) -> dict[str, dict[str, float]]:
    """Return the share of unknown ids, by split and column."""
    return {
        split: {
            name: tally.unknown / max(tally.values, 1)
            for name, tally in columns.items()
            if tally.unknown is not None
        }
        for split, columns in tallies.items()
    }


def mostly_unknown(share: float, in_train: float) -> bool:
    """Say whether most of a column's ids are unknown, and fewer than half as many known as of train.

    Both arguments are shares of ids that are unknown.
    """
    return share > 0.5 and 2 * (1 - share) < 1 - in_train


def unknown_remarks(
    shares: Mapping[str, Mapping[str, float]],
    frames: Mapping[str, pl.LazyFrame],
    vocabularies: Mapping[str, Mapping[Any, int]],
) -> Iterator[Remark]:
    """Yield the columns of later splits of which fewer than half as many values are known as of train.

    ``shares`` are those of the unknown id by split and column; ``frames`` are the splits, filled.
    """
    for split, columns in shares.items():
        for name, share in columns.items():
            in_train = shares["train"][name]
            if split == "train" and share == 1:
                text = f"column {name!r}: all ids of train are the unknown one."
            elif mostly_unknown(share, in_train):
                text = (
                    f"column {name!r}: {percent(share)} of the ids of {split} are unknown, "
                    f"{percent(in_train)} of train's{_example(frames[split], name, vocabularies[name])}."
                )
            else:
                continue
            yield Remark(UNKNOWN, name, text)


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


def number_remarks(
    fills: Collection[Fill], tallies: Tallies, rows: Mapping[str, int], kinds: Mapping[str, str]
) -> Iterator[Remark]:
    """Yield what is odd about fill values and numbers: one remark per column and cause.

    ``rows`` are those of each split, ``kinds`` the types of the features.
    """
    for fill in fills:
        text = _fill_text(fill, {split: c[fill.name] for split, c in tallies.items()}, rows)
        if text:
            yield Remark(FILLS, fill.name, text)
    rounded = list(_rounded_remarks(tallies))
    yield from rounded
    # A column whose numbers are to be scaled needs no second remark that says so.
    others = {remark.column for remark in rounded}
    train = {name: tally for name, tally in tallies["train"].items() if name not in others}
    yield from _scale_remarks(train, kinds)


def _fill_text(fill: Fill, counts: Mapping[str, Tally], rows: Mapping[str, int]) -> str:
    """Return what to say of a fill value that real values have, or that over 1 % of a column becomes."""
    missing, clashes = (sum(getattr(t, k) for t in counts.values()) for k in ("missing", "clashes"))
    clash = _clash_text(fill, missing, clashes) if clashes else ""
    shares = {split: tally.missing / max(rows[split], 1) for split, tally in counts.items()}
    split = max(shares, key=lambda split: shares[split])
    if fill.kind != "numeric" or fill.chosen or shares[split] <= MOST_FILLED:
        return clash
    share = f"{percent(shares[split])} of {split}"
    if clash:
        return f"{clash} They are {share}."
    count, mean, _ = counts["train"].numbers
    filled = counts["train"].missing
    such = ""
    if count > filled:
        others = (mean * count - fill.value * filled) / (count - filled)
        such = f", such as {others:.4g}, the mean of the others"
    return (
        f"column {fill.name!r}: {share} has no value and becomes {fill.value!r}. Set fill_na to "
        f"the number that you want{such}."
    )


def _clash_text(fill: Fill, missing: int, clashes: int) -> str:
    what = f"{'label' if fill.kind == 'label' else 'column'} {fill.name!r}"
    hold = f"{amount(clashes, 'row')} {'holds' if clashes == 1 else 'hold'}"
    if missing:
        become = "row without a value becomes" if missing == 1 else "rows without a value become"
        return f"{what}: {missing:,} {become} {fill.value!r}, which {hold} as a real value. {fill.advice}"
    if not fill.chosen or fill.kind not in ("categorical", "sequence"):
        return ""
    becomes = "padding" if fill.kind == "sequence" else "unknown"
    return (
        f"{what}: {hold} its fill_na {fill.value!r} as a real value, which is taken for missing and "
        f"becomes {becomes}. {fill.advice}"
    )


def _rounded_remarks(tallies: Tallies) -> Iterator[Remark]:
    """Yield the columns of numbers so large that float32 makes neighbours one."""
    for name in dict.fromkeys(name for columns in tallies.values() for name in columns):
        counts = [columns[name] for columns in tallies.values() if columns[name].rounded]
        if counts:
            count, (value, stored) = sum(t.rounded for t in counts), counts[0].example
            text = (
                f"{name!r}: {amount(count, 'number')} of at least 2^24 are rounded, such as "
                f"{value} to {stored:.0f}: neighbouring numbers become equal. Give a feature a "
                "normalizer, or subtract a constant (and divide) before."
            )
            yield Remark(ROUNDED, name, text)


def _scale_remarks(train: Mapping[str, Tally], kinds: Mapping[str, str]) -> Iterator[Remark]:
    """Yield the features whose numbers in train have a mean or standard deviation over 10."""
    for name, tally in train.items():
        count, mean, squares = tally.numbers
        deviation = math.sqrt(squares / count) if count else 0.0
        if max(abs(mean), deviation) > LARGEST:
            advice = "Set normalizer: StandardScaler, or type: categorical if they are ids."
            if kinds[name] == "embedding":
                advice = "Scale the vectors in the files."
            text = (
                f"column {name!r}: its numbers in train have mean {mean:.4g} and standard deviation "
                f"{deviation:.4g}, and nothing scales them. {advice}"
            )
            yield Remark(SCALES, name, text)


def table_remarks(
    columns: Sequence[Mapping[str, Any]], counts: Mapping[str, Mapping[Any, int]]
) -> Iterator[Remark]:
    """Yield what is odd about the tokens of train, by column and by table.

    ``columns`` are the config's entries of columns with tokens, one that shares a table after its
    owner; ``counts`` say how often each token occurs.
    """
    tables: dict[str, Mapping[Any, int]] = {}
    for col in columns:
        name, tokens = col["name"], counts[col["name"]]
        owner = col.get("share_embedding")
        if owner:
            missing, both = ("", col.get("fill_na")), (tokens, tables[owner])
            ours, others = ([token for token in some if token not in missing] for some in both)
            if ours and others and not any(token in tables[owner] for token in ours):
                text = (
                    f"column {name!r} shares the table of {owner!r}, but in train they have no value in "
                    f"common, such as {min(ours)!r} and {min(others)!r}. Write both in one form, or give "
                    "each a table."
                )
                yield Remark(APART, name, text)
            tokens = {**tables[owner], **tokens}
        tables[owner or name] = tokens
    for name, tokens in tables.items():
        texts = [t for t in tokens if isinstance(t, str) and t[-2:] == ".0"]
        twice = [t for t in texts if t[:-2] in tokens]
        if twice:
            values = f"{amount(len(twice), 'value')} {'has' if len(twice) == 1 else 'have'}"
            text = (
                f"column {name!r}: {values} two ids, such as {min(twice)[:-2]!r} and {min(twice)!r}. Write "
                "each number one way."
            )
            yield Remark(APART, name, text)


def no_vectors(name: str, tokens: Collection[Any], keys: Collection[Any]) -> Remark:
    """Return the remark on a column of which no token of train is a key of its pretrained file."""
    text = f"column {name!r}: none of its {len(tokens):,} tokens of train has a pretrained vector"
    if tokens and keys:
        text += f"; train has values such as {min(tokens)!r}, the file keys such as {min(keys)!r}"
    return Remark(APART, name, f"{text}. Write both in one form.")


def unsplit(name: str, tokens: pl.DataFrame, splitter: str) -> Iterator[Remark]:
    """Yield the remark on a sequence most of whose tokens hold another separator than its splitter.

    ``tokens`` has ``token`` and ``count`` of train.
    """
    others = [separator for separator in _SEPARATORS if separator not in splitter]
    if not others:
        return
    token, count = pl.col("token"), pl.col("count")
    sums = tokens.filter(token != "").select(
        count.sum().alias("all"),
        count.filter(token.str.contains_any(others)).sum().alias("some"),
        *(count.filter(token.str.contains(c, literal=True)).sum().alias(c) for c in others),
    )
    counts = sums.row(0, named=True)
    if 2 * counts["some"] > counts["all"]:
        most = max(others, key=lambda separator: counts[separator])
        text = (
            f"column {name!r}: {percent(counts['some'] / counts['all'])} of its values in train "
            f"hold {most!r}, but its splitter is {splitter!r}, so each value becomes a single "
            f"token. Set splitter: {json.dumps(most)}."
        )
        yield Remark(UNSPLIT, name, text)
