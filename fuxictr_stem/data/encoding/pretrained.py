"""Files of pretrained vectors, read as FuxiCTR reads them, but only where the data are their own."""

from __future__ import annotations

import numpy as np

from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.columns import RESERVED
from fuxictr_stem.errors import short

_TOKENS = {str: "text", int: "plain whole numbers of 64 bits", float: "plain floats"}


def key_problems(keys: Array, dtype: type) -> list[str]:
    """Say what is wrong with keys as the tokens that FuxiCTR makes of them.

    It converts keys to the column's dtype without a look at what becomes of them, 1.7 to 1 and NaN
    to -2^63, and lets one of the vectors of a key that stands twice win.

    Args:
        keys: As in the file.
        dtype: The column's: str, int or float.

    Returns:
        The problems, a sentence or two each.

    Raises:
        Exception: Whatever numpy raises at keys that it cannot convert.
    """
    if keys.ndim != 1:
        return [f"needs a list of keys, but 'key' has shape {keys.shape}."]
    with np.errstate(invalid="ignore"):  # such keys are found below
        tokens: Array = keys.astype(dtype)
    altered = np.flatnonzero(_altered(keys, tokens))
    if len(altered):
        return [
            f"{len(altered):,} of its {len(keys):,} keys are not {_TOKENS[dtype]}, as the column's "
            f"dtype {dtype.__name__} wants, the first at position {altered[0]:,}: "
            f"{short(keys.tolist()[altered[0]])}. Write the keys as the column's values are."
        ]
    reserved = [token for token in RESERVED if dtype is str and token in tokens]
    if reserved:
        return [f"its key {reserved[0]!r} is FuxiCTR's own token. Leave it out, with its vector."]
    found, first, counts = np.unique(tokens, return_index=True, return_counts=True)
    twice = np.flatnonzero(counts > 1)
    if len(twice):
        one = twice[first[twice].argmin()]
        return [
            f"{len(twice):,} of its keys stand more than once, such as {short(found[one].item())} "
            f"({counts[one]:,} times). Leave one vector a key."
        ]
    return []


def _altered(keys: Array, tokens: Array) -> Array:
    """Mark keys that are not themselves as tokens: floats by value, others by how they are written."""
    if keys.dtype.kind == "f":
        values = keys.astype(np.float64)
        kept = np.isfinite(values)
        if tokens.dtype.kind == "i":
            # Beyond int64 it depends on the processor what a float becomes.
            kept &= (np.abs(values) < 2.0**63) & (tokens == values)
        return ~kept
    if keys.dtype.kind in "iu" and tokens.dtype.kind == "i":
        return keys > np.iinfo(tokens.dtype).max
    altered = keys.astype(str, copy=False) != tokens.astype(str, copy=False)
    if keys.dtype.kind == "O":
        altered |= np.array([key is None for key in keys])
    return altered
