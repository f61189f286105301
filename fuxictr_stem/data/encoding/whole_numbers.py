"""Text that parquet files hold as whole numbers: counted and looked up as numbers, which is much faster.

``dtype: str`` on an integer column means the text of its numbers. Each number has one text, so that
counting numbers and writing only the distinct ones as text gives the same vocabulary, and a table of ids
by number gives the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.fill_values import Fill
from fuxictr_stem.data.encoding.vocabulary import Array, Vocabulary

# A table of ids by number may have this many entries per id, and some.
_ENTRIES_PER_ID, _ENTRIES = 4, 1 << 20


def whole_numbers(fills: Iterable[Fill]) -> dict[str, Fill]:
    """Return the columns of ids whose files hold whole numbers for text."""
    return {fill.name: fill for fill in fills if fill.numbers}


def token_counts(counts: pl.DataFrame, fill: Fill) -> pl.DataFrame:
    """Return the counts of texts from the counts of numbers; both ``token`` and ``count``."""
    text = pl.col("token").cast(pl.String).fill_null(_missing(fill))
    return counts.group_by(text).agg(pl.col("count").sum())


def whole_number_ids(fill: Fill, words: Vocabulary) -> Callable[[pl.Series], Array]:
    """Return what turns a block's numbers into the ids of their texts."""
    texts = words.texts
    keys = texts.cast(pl.Int64, strict=False)
    # "007" is a text of its own, which no number has.
    own = (keys.cast(pl.String) == texts).fill_null(False).to_numpy()
    find = lookup(keys.fill_null(0).to_numpy()[own], words.ids[:-1][own], words.unknown)
    missing = words.ids[pl.select(words.codes(_missing(fill))).item()]

    def finish(numbers: pl.Series) -> Array:
        ids = find(numbers.fill_null(0).to_numpy())
        if numbers.null_count():
            ids[numbers.is_null().to_numpy()] = missing
        return ids

    return finish


def lookup(keys: Array, ids: Array, unknown: np.generic) -> Callable[[Array], Array]:
    """Return a function that maps an array of numbers to ids.

    Args:
        keys: Distinct numbers.
        ids: The id of each.
        unknown: The id of every other number.

    Example:
        >>> find = lookup(np.array([7, -1]), np.array([1, 2]), np.int64(3))
        >>> find(np.array([-1, 7, 8]))
        array([2, 1, 3])
    """
    if not len(keys):
        return lambda numbers: np.full(len(numbers), unknown)
    order = np.argsort(keys)
    keys, ids = keys[order], ids[order]
    span = int(keys[-1]) - int(keys[0]) + 1 if keys.dtype.kind == "i" else 2**63
    if span <= _ENTRIES_PER_ID * len(keys) + _ENTRIES:
        table = np.full(span + 1, unknown)
        table[keys - keys[0]] = ids
        # Below the first key, the difference wraps to a large number.
        return lambda numbers: table[np.minimum((numbers - keys[0]).view(np.uint64), span)]

    def search(numbers: Array) -> Array:
        place = np.minimum(np.searchsorted(keys, numbers), len(keys) - 1)
        return np.where(keys[place] == numbers, ids[place], unknown)

    return search


def _missing(fill: Fill) -> pl.Expr:
    return pl.lit(fill.value).cast(pl.String)
