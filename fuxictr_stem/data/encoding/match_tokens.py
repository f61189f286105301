"""The tokens that two vocabularies of a column share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl


class Matched(NamedTuple):
    """What two vocabularies share, and what only one of them has."""

    here: np.ndarray  # ids in ours of the tokens that both have, (N,)
    there: np.ndarray  # their ids in the other, (N,)
    new: int  # tokens that only ours has
    gone: int  # tokens that only the other has


def match_tokens(
    ours: tuple[pl.Series, np.ndarray], theirs: tuple[pl.Series, np.ndarray]
) -> Matched:
    """Match the tokens of two vocabularies, distinct tokens and their ids; as text if dtypes differ.

    Example:
        >>> ours = pl.Series(["b", "c"]), np.array([1, 2])
        >>> match_tokens(ours, (pl.Series(["a", "b"]), np.array([1, 2])))
        Matched(here=array([1]), there=array([2]), new=1, gone=1)
    """
    as_text = ours[0].dtype != theirs[0].dtype

    def frame(vocabulary: tuple[pl.Series, np.ndarray], name: str) -> pl.DataFrame:
        tokens, ids = vocabulary
        tokens = tokens.cast(pl.String) if as_text else tokens
        return pl.DataFrame({"token": tokens, name: ids.astype(np.int64)})

    both = frame(ours, "here").join(frame(theirs, "there"), on="token")
    here, there = (both[name].to_numpy() for name in ("here", "there"))
    return Matched(here, there, len(ours[1]) - len(here), len(theirs[1]) - len(there))
