"""One value at a time, without polars: what `column_encoders` do, for a single row in microseconds.

Only values of exactly the plain types are taken (str, int, float, None, lists of these); for every other
one, and for whatever may be a fault, the row is encoded as a frame, which checks it and knows the words.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fuxictr_stem.data.encoding.column_encoders import Feature
from fuxictr_stem.data.encoding.vocabulary import Array, Vocabulary
from fuxictr_stem.data.source.readings import FLOAT32_MAX
from fuxictr_stem.data.source.source_column import Column, are_alike

ValueEncoder = Callable[[Any], Array]

_INT64 = range(-(2**63), 2**63)
# Below, floats tell whole numbers apart.
_EXACT = 2.0**53


class NotPlain(Exception):
    """A value that is encoded as part of a frame."""


def value_encoder(
    feature: Feature, column: Column, words: Vocabulary | None, missing: Array | None
) -> ValueEncoder:
    """Return what turns a value of a column into a feature's array of one row, or raises `NotPlain`.

    ``missing`` is its array where there is no value; None where there must be one.
    """
    if feature.kind == "embedding":
        return _vector(column.dim)
    if feature.kind == "numeric":
        of_value = _number(feature)
    elif words is None:
        of_value = _exactly(int, lambda value: np.array([value], dtype=np.int64), 2.0**63)
    elif feature.kind == "sequence":
        of_value = _sequence(feature, column, words)
    elif feature.dtype == "str":
        of_value = _text(column, words)
    else:
        of_value = _token(feature.dtype, column, words)
    nulls = frozenset(column.null_values)

    def encode(value: Any) -> Array:
        if value is None or (nulls and type(value) is str and value in nulls):
            if missing is None:
                raise NotPlain
            return missing.copy()
        return of_value(value)

    return encode


def _takes(column: Column, kind: str) -> bool:
    """Say whether training's values were written as those of a kind are."""
    return not column.kinds or are_alike(column.dtype, {kind, *column.kinds})


def _text(column: Column, words: Vocabulary) -> ValueEncoder:
    find, unknown, dtype = words.find, int(words.unknown), words.dtype
    texts, numbers = _takes(column, "text"), _takes(column, "int")

    def encode(value: Any) -> Array:
        if type(value) is int and numbers and value in _INT64:
            value = str(value)
        elif type(value) is not str or not texts:
            raise NotPlain
        id_ = find(value)
        if id_ is None:
            _check(value)
            id_ = unknown
        return np.array([id_], dtype=dtype)

    return encode


def _check(text: str) -> None:
    """Leave what is no text, such as half of a surrogate pair, to polars."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotPlain from error


def _token(dtype: str, column: Column, words: Vocabulary) -> ValueEncoder:
    find, unknown, type_ = words.find, int(words.unknown), words.dtype

    def encode(value: Any) -> Array:
        id_ = find(value)
        return np.array([unknown if id_ is None else id_], dtype=type_)

    if dtype == "int":
        return _exactly(int, encode, 2.0**63)
    return _exactly(float, encode, _EXACT) if _takes(column, "double") else not_plain


def _number(feature: Feature) -> ValueEncoder:
    normalizer = feature.normalizer

    def encode(value: float) -> Array:
        number = float(value) if normalizer is None else normalizer.of(float(value))
        if not abs(number) <= FLOAT32_MAX:
            raise NotPlain
        return np.array([number], dtype=np.float32)

    if feature.dtype == "float":
        return _exactly(float, encode, math.nextafter(FLOAT32_MAX, math.inf))
    return _exactly(int, encode, _EXACT)


def _exactly(kind: type[int] | type[float], encode: ValueEncoder, bound: float) -> ValueEncoder:
    """Take numbers of one type between two bounds, and no others."""

    def checked(value: Any) -> Array:
        if type(value) is not kind or not -bound < value < bound:
            raise NotPlain
        return encode(value)

    return checked


def not_plain(value: Any) -> Array:
    """Leave every value to the encoding of frames."""
    raise NotPlain


def _sequence(feature: Feature, column: Column, words: Vocabulary) -> ValueEncoder:
    find, unknown, dtype = words.find, int(words.unknown), words.dtype
    length, pre, padding = feature.width, feature.pre, feature.padding

    def encode(value: Any) -> Array:
        if type(value) is str and column.splitter:
            tokens = value.split(column.splitter)
        elif type(value) is list and set(map(type, value)) <= {str}:
            tokens = value or [""]
        else:
            raise NotPlain
        cut = tokens[-length:] if pre else tokens[:length]
        ids = [0 if token == padding else find(token) for token in cut]
        if None in ids or len(cut) < len(tokens):
            _check("".join(tokens))
            ids = [unknown if id_ is None else id_ for id_ in ids]
        array = np.zeros((1, length), dtype=dtype)
        array[0, slice(-len(ids), None) if pre else slice(len(ids))] = ids
        return array

    return encode if _takes(column, "text") else not_plain


def _vector(width: int) -> ValueEncoder:
    def encode(value: Any) -> Array:
        plain = type(value) is list and len(value) == width and set(map(type, value)) == {float}
        if not plain or not all(-FLOAT32_MAX <= number <= FLOAT32_MAX for number in value):
            raise NotPlain
        return np.array([value], dtype=np.float32)

    return encode
