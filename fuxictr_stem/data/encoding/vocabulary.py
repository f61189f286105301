"""A vocabulary as arrays, for looking up whole columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem.data.source.columns import RESERVED

Array = np.ndarray[Any, np.dtype[Any]]


def integer_type(low: int, high: int) -> np.dtype[Any]:
    """Return the smallest type that holds the integers from ``low`` to ``high``."""
    for dtype in (np.uint8, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)


class Vocabulary:
    """The ids of tokens, as FuxiCTR's tokenizer has them after fitting.

    Args:
        tokens: Id of each token, with ``__PAD__`` and ``__OOV__``.

    Attributes:
        dtype: The smallest type for its ids.
        unknown: Id of every other token.
        ids: By the code of a text: its id; the last is for whatever is not in the vocabulary.
    """

    def __init__(self, tokens: Mapping[Any, int]) -> None:
        self.dtype = integer_type(0, max(tokens.values()))
        self.unknown = self.dtype.type(tokens["__OOV__"])
        texts = {token: id_ for token, id_ in tokens.items() if isinstance(token, str)}
        # A value that is written as one of the reserved tokens is unknown.
        words = {token: id_ for token, id_ in texts.items() if token not in RESERVED}
        self._words = pl.Enum(list(words))
        self.ids = np.array([*words.values(), self.unknown], dtype=self.dtype)
        self._numbers = {token: i for token, i in tokens.items() if not isinstance(token, str)}

    def codes(self, text: pl.Expr) -> pl.Expr:
        """Return the place of each text in ``ids``."""
        codes = text.cast(self._words, strict=False).to_physical().cast(pl.UInt32)
        return codes.fill_null(len(self.ids) - 1)

    @property
    def texts(self) -> pl.Series:
        """The texts, in the order of ``ids``."""
        return self._words.categories

    def numbers(self) -> tuple[Array, Array]:
        """Return the tokens that are numbers, and their ids."""
        ids = np.array(list(self._numbers.values()), dtype=self.dtype)
        return np.array(list(self._numbers)), ids
