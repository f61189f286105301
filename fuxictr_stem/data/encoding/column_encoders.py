"""How one column of filled values becomes an array: ids, numbers or vectors.

Every id comes from the vocabularies of FuxiCTR's fitted processor; the tests hold each block against
FuxiCTR's own ``transform``. Text goes through a polars Enum of the vocabulary (its codes index an array of
ids) inside the query, so that polars hashes on all cores and the vocabulary only once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.count_tokens import flat
from fuxictr_stem.data.encoding.vocabulary import Array, Lookup, Vocabulary
from fuxictr_stem.errors import DataError

Number = TypeVar("Number", Array, float)


class Normalizer(NamedTuple):
    """A fitted normalizer of FuxiCTR's, with the arithmetic of scikit-learn's transform."""

    name: str  # ``StandardScaler``: (x - offset) / scale, or ``MinMaxScaler``: x * scale + offset
    offset: float  # the mean; or what is added
    scale: float  # the standard deviation; or the factor

    def of(self, numbers: Number) -> Number:
        """Return numbers, or a number, of float64 scaled."""
        if self.name == "StandardScaler":
            return (numbers - self.offset) / self.scale
        return numbers * self.scale + self.offset


@dataclass(frozen=True)
class Feature:
    """What fitting has found out about a feature."""

    name: str
    kind: str
    dtype: str  # of its values: ``str``, ``int`` or ``float``
    width: int = 0  # length of a sequence or a vector; 0 for one value per row
    # The place of its vocabulary, which several may share; None if it has none.
    vocabulary: int | None = None
    pre: bool = False  # whether a sequence is padded and cut at its beginning, not its end
    # The token of a sequence that is padding, too; None if there is none.
    padding: str | None = None
    normalizer: Normalizer | None = None  # what scales its numbers


@dataclass(frozen=True)
class Encoder:
    """How one column becomes an array."""

    name: str
    dtype: np.dtype[Any]  # of the array
    reads: str  # the column of filled values that it is made of
    query: Callable[[pl.Expr], pl.Expr]  # what the query computes of that column
    finish: Callable[[pl.Series], Array]  # turns the query's series into the array
    width: int = 0  # length of a row of the array; 0 for one value per row
    unknown: int | None = None  # the id of values that train has not; None where no id says so
    as_it_is: bool = False  # whether the array holds the file's numbers, as float32
    measured: bool = False  # whether the array is of a feature's numbers that no normalizer scales


def column_encoder(feature: Feature, words: Vocabulary | None, rows: float) -> Encoder:
    """Return the encoder of a feature, by its vocabulary; `of_written_numbers` may be a faster one.

    It will encode about so many ``rows``; inf stands for as many as in training.
    """
    name = feature.name
    if feature.kind == "embedding":
        return _vectors(feature)
    if feature.kind == "numeric":
        return _numeric(feature)
    if words is None:
        return plain(name, np.dtype(np.int64))
    unknown = _unknown(feature, words)
    if feature.dtype != "str":
        return Encoder(
            name,
            words.dtype,
            name,
            _same,
            lambda v: words.of_numbers(v.to_numpy()),
            unknown=unknown,
        )
    text = words.of_text(rows * max(feature.width, 1), feature.padding)
    if feature.kind == "sequence":
        return _sequence(feature, text, words)
    return Encoder(name, words.dtype, name, text.query, text.ids, unknown=unknown)


def of_written_numbers(feature: Feature, words: Vocabulary, numbers: str, missing: Any) -> Encoder:
    """Return the encoder of a feature that is the text of whole numbers, by the numbers.

    These are in the column ``numbers``, null where they are missing; what missing ones become is
    ``missing``.
    """
    text = pl.select(pl.lit(missing).cast(pl.String)).item()
    find, unknown = words.of_written_numbers(text), _unknown(feature, words)
    return Encoder(feature.name, words.dtype, numbers, _same, find, unknown=unknown)


def plain(name: str, dtype: np.dtype[Any], as_it_is: bool = False) -> Encoder:
    """Return the encoder of numbers that are kept: a label, or the ids of a meta column."""
    return Encoder(
        name, dtype, name, _same, lambda values: values.to_numpy().astype(dtype), as_it_is=as_it_is
    )


def _unknown(feature: Feature, words: Vocabulary) -> int | None:
    # The values of a meta column come from all splits.
    return None if feature.kind == "meta" else int(words.unknown)


def _same(values: pl.Expr) -> pl.Expr:
    return values


def _sequence(feature: Feature, text: Lookup, words: Vocabulary) -> Encoder:
    """Cut to the length, look up, and pad with 0, as FuxiCTR's ``pad_sequences``."""
    name, length, pre = feature.name, feature.width, feature.pre
    place = np.arange(length)

    def query(tokens: pl.Expr) -> pl.Expr:
        cut = tokens.list.tail(length) if pre else tokens.list.head(length)
        return cut.list.eval(text.query(pl.element()))

    def finish(values: pl.Series) -> Array:
        lengths = values.list.len().to_numpy()[:, None]
        matrix = np.zeros((len(values), length), dtype=words.dtype)
        matrix[place >= length - lengths if pre else place < lengths] = text.ids(flat(values))
        return matrix

    return Encoder(name, words.dtype, name, query, finish, length, int(words.unknown))


def _numeric(feature: Feature) -> Encoder:
    name, normalizer = feature.name, feature.normalizer

    def finish(values: pl.Series) -> Array:
        numbers = values.to_numpy()
        if normalizer is not None:
            numbers = normalizer.of(numbers.astype(np.float64))
        with np.errstate(over="ignore"):
            scaled = numbers.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise DataError(
                f"column {name!r}: a value is beyond float32 after its normalizer and fill_na; scale "
                "the column before, change fill_na, or leave the normalizer out."
            )
        return scaled

    raw = normalizer is None
    dtype = np.dtype(np.float32)
    return Encoder(name, dtype, name, _same, finish, as_it_is=raw, measured=raw)


def _vectors(feature: Feature) -> Encoder:
    name, width = feature.name, feature.width

    def finish(vectors: pl.Series) -> Array:
        return flat(vectors).to_numpy().reshape(-1, width)

    return Encoder(name, np.dtype(np.float32), name, _same, finish, width, measured=True)
