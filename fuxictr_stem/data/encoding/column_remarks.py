"""What is odd about columns as a model sees them: numbers out of scale or made up, lists not split."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping

import polars as pl

from fuxictr_stem.data.encoding.column_tally import Tally
from fuxictr_stem.data.encoding.fill_values import Fill
from fuxictr_stem.data.encoding.id_remarks import FILLS, Remark, percent

SCALES = "Numbers too large for a model to learn from"
UNSPLIT = "Sequences that are not split into tokens"

LARGEST = 10.0
"""The largest mean, in absolute value, or standard deviation of a feature's numbers."""

MOST_FILLED = 0.01
"""The largest share of missing numbers that may become one value without a word."""

_SEPARATORS = "|,;"


def scale_remarks(
    tallies: Mapping[str, Tally], kinds: Mapping[str, str], passed_over: Collection[str]
) -> Iterator[Remark]:
    """Yield the features whose numbers in train have a mean or standard deviation over 10.

    Args:
        tallies: What was counted of each column in train; only numbers that no normalizer scales are.
        kinds: The types of the features.
        passed_over: Columns whose numbers a remark tells to scale already.
    """
    for name, tally in tallies.items():
        count, mean, squares = tally.numbers
        deviation = math.sqrt(squares / count) if count else 0.0
        if name in passed_over or max(abs(mean), deviation) <= LARGEST:
            continue
        advice = "Set normalizer: StandardScaler, or type: categorical if they are ids."
        if kinds[name] == "embedding":
            advice = "Scale the vectors in the files."
        yield Remark(
            SCALES,
            name,
            f"column {name!r}: its numbers in train have mean {mean:.4g} and standard deviation "
            f"{deviation:.4g}, and nothing scales them. {advice}",
        )


def filled_remarks(
    fills: Collection[Fill], tallies: Mapping[str, Mapping[str, Tally]], rows: Mapping[str, int]
) -> Iterator[Remark]:
    """Yield the numeric columns of which over 1 % is missing and becomes a number by default.

    Args:
        fills: What missing values become.
        tallies: By split, what was counted of each column.
        rows: Rows of each split.
    """
    for fill in fills:
        shares = {split: tallies[split][fill.name].missing / max(rows[split], 1) for split in rows}
        split = max(shares, key=lambda split: shares[split])
        if fill.kind != "numeric" or fill.chosen or shares[split] <= MOST_FILLED:
            continue
        counts = [columns[fill.name] for columns in tallies.values()]
        clash = fill.remark(sum(t.missing for t in counts), sum(t.clashes for t in counts))
        others = _mean_of_others(fill, tallies["train"][fill.name])
        share = f"{percent(shares[split])} of {split}"
        such = "" if others is None else f", such as {others:.4g}, the mean of the others"
        text = (
            f"column {fill.name!r}: {share} has no value and becomes {fill.value!r}. Set fill_na to a "
            f"number that you mean{such}."
        )
        if clash:
            text = f"{clash} They are {share}."
        yield Remark(FILLS, fill.name, text)


def _mean_of_others(fill: Fill, train: Tally) -> float | None:
    """Return the mean of the numbers of train that are not filled in, where they are counted."""
    count, mean, _ = train.numbers
    if count <= train.missing:
        return None
    return float((mean * count - fill.value * train.missing) / (count - train.missing))


def unsplit(name: str, tokens: pl.DataFrame, splitter: str) -> Remark | None:
    """Return the remark on a sequence most of whose tokens hold another separator than its own.

    Args:
        name: The column.
        tokens: ``token`` and ``count`` of train.
        splitter: Its splitter.
    """
    others = [separator for separator in _SEPARATORS if separator not in splitter]
    if not others:
        return None
    tokens = tokens.filter(pl.col("token") != "")
    token, count = pl.col("token"), pl.col("count")
    holds = {c: token.str.contains(c, literal=True) for c in others}
    found = tokens.select(
        count.sum().alias("all"),
        count.filter(token.str.contains_any(others)).sum().alias("some"),
        *(count.filter(where).sum().alias(c) for c, where in holds.items()),
    ).row(0, named=True)
    if 2 * found["some"] <= found["all"]:
        return None
    most = max(others, key=lambda separator: found[separator])
    return Remark(
        UNSPLIT,
        name,
        f"column {name!r}: {percent(found['some'] / found['all'])} of its values in train hold {most!r}, "
        f"but its splitter is {splitter!r}, so that each is one token. Set splitter: {json.dumps(most)}.",
    )
