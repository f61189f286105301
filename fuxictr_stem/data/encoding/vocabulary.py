"""A vocabulary as arrays, for looking up whole columns, and for matching it with another one."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.data.source.source_column import RESERVED

Array = np.ndarray[Any, np.dtype[Any]]

# A table of ids by number may have this many entries per id, and some.
_ENTRIES_PER_ID, _ENTRIES = 4, 1 << 20

# The most tokens that are hashed for a few values: more would take longer than searching them, sorted.
_HASHED = 1 << 19


def integer_type(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest type that holds the integers from ``low`` to ``high``.

    Example:
        >>> integer_type(0, 255), integer_type(-1, 5)
        (dtype('uint8'), dtype('int32'))
    """
    for dtype in (np.uint8, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


def lookup(keys: Array, ids: Array, unknown: np.generic) -> Callable[[Array], Array]:
    """Return a function that maps an array of numbers to ids: those of distinct keys, or ``unknown``.

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


class Lookup(NamedTuple):
    """How a column of text becomes ids."""

    query: Callable[[pl.Expr], pl.Expr]  # what the query computes of each text
    ids: Callable[[pl.Series], Array]  # turns the query's values into ids, (values,)


class Vocabulary:
    """The ids of distinct tokens, (tokens,): text, whole numbers or floats; ``unknown`` is any other's."""

    def __init__(
        self, tokens: pl.Series, ids: Array, unknown: int, is_sorted: bool = False
    ) -> None:
        # The smallest type for its ids.
        self.dtype = integer_type(0, max(int(ids.max(initial=0)), unknown))
        self.tokens = tokens
        self.unknown = self.dtype.type(unknown)
        # By the place of a token; the last is for whatever is not in the vocabulary.
        self.ids = np.append(ids.astype(self.dtype), self.unknown)
        self._is_sorted = is_sorted

    @classmethod
    def of(cls, vocabulary: Mapping[Any, int]) -> Vocabulary:
        """Return the vocabulary of a tokenizer of FuxiCTR after fitting."""
        ids = dict(vocabulary)
        # A value that is written as one of the reserved tokens is unknown.
        unknown = [ids.pop(token) for token in RESERVED][1]
        is_text = isinstance(next(iter(ids), ""), str)
        tokens = (
            pl.Series(list(ids), dtype=pl.String) if is_text else pl.Series(np.array(list(ids)))
        )
        return cls(tokens, np.array(list(ids.values()), dtype=np.int64), unknown)

    def is_searched(self, values: float) -> bool:
        """Say whether that many texts are searched for: else a table of all tokens is made first."""
        return self._is_sorted and len(self.tokens) > max(_HASHED, values)

    def of_text(self, values: float, padding: str | None = None) -> Lookup:
        """Return how text becomes ids, about so many values; inf stands for as many as in training.

        The id of ``padding`` is 0, whether or not it is a token.
        """
        if self.is_searched(values):
            return Lookup(lambda text: text, lambda texts: self._searched(texts, padding))
        ids = self.ids if padding is None else np.append(self.ids, self.dtype.type(0))

        def query(text: pl.Expr) -> pl.Expr:
            codes = text.cast(self._codes, strict=False).to_physical().cast(pl.UInt32)
            codes = codes.fill_null(len(self.ids) - 1)
            if padding is None:
                return codes
            return pl.when(text == padding).then(pl.lit(len(ids) - 1, pl.UInt32)).otherwise(codes)

        return Lookup(query, lambda codes: ids[codes.to_numpy()])

    def of_written_numbers(self, missing: str) -> Callable[[pl.Series], Array]:
        """Return what turns whole numbers into the ids of their texts, and missing ones into one text's.

        ``dtype: str`` on an integer column means the text of its numbers. Each number has one text,
        so that a table of ids by number gives the same ids, much faster.
        """
        find, text = self._written, self.of_text(math.inf)
        missing_id = text.ids(pl.select(text.query(pl.lit(missing))).to_series())[0]

        def ids_of(numbers: pl.Series) -> Array:
            ids = find(numbers.fill_null(0).to_numpy())
            if numbers.null_count():
                ids[numbers.is_null().to_numpy()] = missing_id
            return ids

        return ids_of

    @cached_property
    def find(self) -> Callable[[Any], int | None]:
        """Return what gives the id of a token of the vocabulary's type, None if it is not in there."""
        tokens, ids = self.tokens, self.ids
        if not self.is_searched(0):
            return dict(zip(tokens.to_list(), ids.tolist(), strict=False)).get

        def search(token: Any) -> int | None:
            place = bisect_left(tokens, token)
            return ids[place].item() if place < len(tokens) and tokens[place] == token else None

        return search

    @cached_property
    def _codes(self) -> pl.DataTypeExpr:
        # With the Enum itself, polars would hash the tokens again for every expression.
        return pl.dtype_of(pl.lit(pl.Series([], dtype=pl.Enum(self.tokens))))

    @cached_property
    def of_numbers(self) -> Callable[[Array], Array]:
        """Return what turns numbers into the ids of the tokens that are numbers."""
        return lookup(self.tokens.to_numpy(), self.ids[:-1], self.unknown)

    @cached_property
    def _written(self) -> Callable[[Array], Array]:
        keys = self.tokens.cast(pl.Int64, strict=False)
        # "007" is a text of its own, which no number has.
        written = (keys.cast(pl.String) == self.tokens).fill_null(False).to_numpy()
        return lookup(keys.fill_null(0).to_numpy()[written], self.ids[:-1][written], self.unknown)

    def _searched(self, texts: pl.Series, padding: str | None) -> Array:
        last = len(self.tokens)
        places = np.minimum(self.tokens.search_sorted(texts).to_numpy(), max(last - 1, 0))
        ids = self.ids[np.where((self.tokens.gather(places) == texts).to_numpy(), places, last)]
        if padding is not None:
            ids[(texts == padding).to_numpy()] = 0
        return ids


class Matched(NamedTuple):
    """What two vocabularies share, and what only one of them has."""

    here: Array  # ids in ours of the tokens that both have, (N,)
    there: Array  # their ids in the other, (N,)
    new: int  # tokens that only ours has
    gone: int  # tokens that only the other has


def match_tokens(ours: tuple[pl.Series, Array], theirs: tuple[pl.Series, Array]) -> Matched:
    """Match the tokens of two vocabularies, distinct tokens and their ids; as text if dtypes differ.

    Example:
        >>> ours = pl.Series(["b", "c"]), np.array([1, 2])
        >>> match_tokens(ours, (pl.Series(["a", "b"]), np.array([1, 2])))
        Matched(here=array([1]), there=array([2]), new=1, gone=1)
    """
    as_text = ours[0].dtype != theirs[0].dtype

    def frame(vocabulary: tuple[pl.Series, Array], name: str) -> pl.DataFrame:
        tokens, ids = vocabulary
        tokens = tokens.cast(pl.String) if as_text else tokens
        return pl.DataFrame({"token": tokens, name: ids.astype(np.int64)})

    both = frame(ours, "here").join(frame(theirs, "there"), on="token")
    here, there = (both[name].to_numpy() for name in ("here", "there"))
    return Matched(here, there, len(ours[1]) - len(here), len(theirs[1]) - len(there))
