"""How often each token occurs, in one pass and bounded memory, counted by one process or by several.

FuxiCTR runs one query per column on the same files at once, and polars then keeps what the queries
share in memory: the whole of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fuxictr_stem.config.column_words import CATEGORICAL, META, SEQUENCE
from fuxictr_stem.data.encoding.fill_values import Fill, filled_frame, fills
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import explained
from fuxictr_stem.runtime.group import Group

_MERGE_ROWS = 1 << 21


class TokenCounts:
    """Counts of one column's tokens, gathered block by block.

    Where the files hold whole numbers for text, ``whole`` is what missing ones become. Then numbers are
    counted, and only the distinct ones written as text.
    """

    def __init__(self, whole: Fill | None = None) -> None:
        self.longest = 0  # of a sequence, its most tokens in a row
        self._whole = whole
        self._blocks: list[pl.DataFrame] = []
        self._rows = self._merged = 0

    def add(self, tokens: pl.Series) -> None:
        """Count a block's tokens."""
        tokens = tokens if self._whole else tokens.drop_nulls()
        counts = tokens.alias("token").value_counts(name="count")
        self._blocks.append(counts.with_columns(pl.col("count").cast(pl.Int64)))
        self._rows += counts.height
        # Half of the rows at least are new since the last merge: merging stays linear.
        if self._rows > max(_MERGE_ROWS, 2 * self._merged):
            self._merge(pl.col("token"))

    def table(self) -> pl.DataFrame:
        """Return the tokens and how often each occurs: ``token``, ``count``."""
        token = pl.col("token")
        self._merge(token.cast(pl.String).fill_null(self._whole.text) if self._whole else token)
        return self._blocks[0]

    def counts(self) -> dict[Any, int]:
        """Return how often each token occurs."""
        token, count = self.table()
        return dict(zip(token.to_list(), count.to_list(), strict=True))

    def write(self, path: Path) -> None:
        """Write the counts into a file, if there are any, for `add_file` of another process."""
        if self._blocks:
            self._merge(pl.col("token"))
            self._blocks[0].write_ipc(path)

    def add_file(self, path: Path, longest: int) -> None:
        """Add the counts that another process has written, and its most tokens in a row."""
        if path.exists():
            self._blocks.append(pl.read_ipc(path, memory_map=False))
            self.longest = max(self.longest, longest)

    def _merge(self, token: pl.Expr) -> None:
        merged = pl.concat(self._blocks).group_by(token).agg(pl.col("count").sum())
        self._blocks = [merged]
        self._rows = self._merged = merged.height


def counted_features(features: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the features whose tokens get ids."""
    kinds = (META, CATEGORICAL, SEQUENCE)
    return [c for c in features if c["active"] and c["type"] in kinds and c.get("remap", True)]


def count_share(source: Source, folder: Path, group: Group) -> dict[str, TokenCounts]:
    """Count the tokens of train, and of all splits for meta columns.

    Each process of a group calls this and counts its share of the rows; the first one gets the counts of
    all, by way of files in ``folder``.
    """
    share, plan = source.share(group), source.plan
    with explained(source):
        frames = {split: filled_frame(plan, share.frame(split)) for split in share.parts}
        # Ids whose files hold whole numbers for text.
        whole = {fill.name: fill for fill in fills(source) if fill.numbers}
        is_meta = {col["name"]: col["type"] == META for col in counted_features(plan.features)}
        tokens = count_tokens(frames["train"], [n for n in is_meta if not is_meta[n]], whole)
        every = pl.concat(list(frames.values()))
        tokens |= count_tokens(every, [n for n in is_meta if is_meta[n]], whole)
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


def count_tokens(
    frame: pl.LazyFrame,
    columns: Sequence[str],
    whole: Mapping[str, Fill] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> dict[str, TokenCounts]:
    """Count the tokens of some columns of a frame, a block of rows at a time.

    A sequence is a list of tokens. Of the columns in ``whole``, the numbers are counted in place of
    their text.
    """
    whole = whole or {}
    counts = {name: TokenCounts(whole.get(name)) for name in columns}
    if not columns:
        return counts
    query = frame.select(
        pl.col(whole[name].numbers if name in whole else name).alias(name) for name in columns
    )
    blocks = query.collect_batches(chunk_size=block_rows, maintain_order=False, engine="streaming")
    for block in blocks:
        for name in columns:
            tokens = block[name]
            if tokens.dtype == pl.List:
                longest = int(tokens.list.len().max() or 0)  # type: ignore[arg-type]
                counts[name].longest = max(counts[name].longest, longest)
                tokens = flat(tokens)
            counts[name].add(tokens)
    return counts


def flat(lists: pl.Series) -> pl.Series:
    """Return the elements of all lists; nothing for an empty one."""
    return lists.explode(empty_as_null=False, keep_nulls=False)
