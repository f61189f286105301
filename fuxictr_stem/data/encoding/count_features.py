"""The tokens of a dataset's features counted, by one process or by several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META, SEQUENCE
from fuxictr_stem.data.encoding.count_tokens import TokenCounts, count_tokens
from fuxictr_stem.data.encoding.fill_steps import filled_frame
from fuxictr_stem.data.encoding.fill_values import Fill, fills
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import explained
from fuxictr_stem.runtime.group import Group


def counted_features(features: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the features whose tokens get ids."""
    kinds = (META, CATEGORICAL, SEQUENCE)
    return [c for c in features if c["active"] and c["type"] in kinds and c.get("remap", True)]


def count_features(
    features: Iterable[Mapping[str, Any]],
    fills: Iterable[Fill],
    train: pl.LazyFrame,
    every: pl.LazyFrame,
) -> dict[str, TokenCounts]:
    """Count the tokens of train, and of all splits for meta columns.

    Args:
        features: The entries of the config, as `counted_features` returns them.
        fills: What missing values become.
        train: The columns of train with missing values filled.
        every: The same of all splits.
    """
    # Ids whose files hold whole numbers for text.
    whole = {fill.name: fill for fill in fills if fill.numbers}
    names = {col["name"]: col["type"] == META for col in features}
    tokens = count_tokens(train, [name for name, is_meta in names.items() if not is_meta], whole)
    return tokens | count_tokens(every, [n for n, is_meta in names.items() if is_meta], whole)


def count_share(source: Source, folder: Path, group: Group) -> dict[str, TokenCounts]:
    """Count the tokens of this process' share of a dataset; return those of all to the first process.

    Args:
        source: The checked files.
        folder: Of files from one process to another.
        group: The processes, each of which calls this.
    """
    share, plan = source.share(group), source.plan
    with explained(source):
        frames = {split: filled_frame(plan, share.frame(split)) for split in share.parts}
        every = pl.concat(list(frames.values()))
        features = counted_features(plan.features)
        tokens = count_features(features, fills(source), frames["train"], every)
    if not group.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        for place, counts in enumerate(tokens.values()):
            counts.write(_file(folder, group.number, place))
    longest = group.exchange([counts.longest for counts in tokens.values()])
    for number in range(1, group.count) if group.is_first else ():
        for place, counts in enumerate(tokens.values()):
            counts.add_file(_file(folder, number, place), longest[number][place])
    return tokens


def _file(folder: Path, number: int, place: int) -> Path:
    return folder / f"tokens-{number}-{place}.arrow"
