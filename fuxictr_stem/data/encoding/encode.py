"""Rows into ids, block by block, without Python for any row.

Every id comes from the fitted processor's vocabularies; the tests hold each block against FuxiCTR's
own ``transform``. Text goes through a polars Enum of the vocabulary (its codes index an array of
ids) inside the lazy query, so that polars hashes on all cores and the vocabulary only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.count_tokens import flat
from fuxictr_stem.data.encoding.fill_values import Fill, whole_numbers
from fuxictr_stem.data.encoding.vocabulary import Array, Vocabulary, integer_type
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS
from fuxictr_stem.data.source.split_files import Source, missing_flag
from fuxictr_stem.data.source.validate import SplitStats, explained
from fuxictr_stem.errors import DataError

_BLOCK_BYTES = 1 << 29
_FIRST_ROUNDED = 2.0**24


@dataclass(frozen=True)
class Encoder:
    """How one column of a split becomes an array.

    Attributes:
        name: The column.
        dtype: Of the array.
        query: What the lazy query computes.
        finish: Turns the query's series into the array.
        width: Length of a row of the array; 0 for one value a row.
        unknown: The id of values that train has not; None where no id says so.
        as_it_is: Whether the array holds the file's numbers, as float32.
        measured: Whether the array is of a feature's numbers that no normalizer scales.
    """

    name: str
    dtype: np.dtype[Any]
    query: pl.Expr
    finish: Callable[[pl.Series], Array]
    width: int = 0
    unknown: int | None = None
    as_it_is: bool = False
    measured: bool = False


@dataclass
class Tally:
    """Counts of one column in one split, gathered block by block.

    Attributes:
        values: Ids; of a sequence without its padding.
        unknown: How many of these are the unknown id; None where no id is.
        missing: Rows without a value.
        clashes: Rows that hold what missing ones become.
        rounded: Numbers of at least 2^24 that float32 rounds.
        example: The first of these, and what it becomes.
        numbers: Count, mean and sum of squared differences from the mean of a feature's numbers.
    """

    values: int = 0
    unknown: int | None = None
    missing: int = 0
    clashes: int = 0
    rounded: int = 0
    example: tuple[Any, ...] = ()
    numbers: tuple[int, float, float] = (0, 0.0, 0.0)

    def count(self, column: Encoder, values: pl.Series, array: Array) -> None:
        """Count a block of a column: its values before, and the array that they became."""
        if column.unknown is not None:
            self.count_ids(array, column.unknown)
        elif column.as_it_is:
            self.count_rounded(values.to_numpy(), array)
        if column.measured:
            self.count_numbers(array)

    def count_ids(self, ids: Array, unknown: int) -> None:
        """Count a block's ids, (rows,) or (rows, tokens); a token's 0 is padding."""
        self.values += ids.size if ids.ndim == 1 else int(np.count_nonzero(ids))
        self.unknown = (self.unknown or 0) + int(np.count_nonzero(ids == unknown))

    def count_rounded(self, numbers: Array, stored: Array) -> None:
        """Compare a block's numbers with the float32 that they became, (rows,) both."""
        large = np.abs(numbers) >= _FIRST_ROUNDED
        if large.any():
            places = np.flatnonzero(large & (stored != numbers))
            if len(places) and not self.rounded:
                self.example = (numbers[places[0]].item(), float(stored[places[0]]))
            self.rounded += len(places)

    def count_numbers(self, numbers: Array) -> None:
        """Add a block's numbers, of any shape, to mean and variance (Chan et al., 1979)."""
        count, mean, squares = self.numbers
        more, total = numbers.size, count + numbers.size
        if more:
            apart = numbers.astype(np.float64).ravel()
            its_mean = float(apart.mean())
            apart -= its_mean
            step = its_mean - mean
            squares += float(apart @ apart) + step**2 * count * more / total
            self.numbers = total, mean + step * more / total, squares


def encoders(source: Source, processor: Any, stats: Mapping[str, SplitStats]) -> list[Encoder]:
    """Return an encoder for each feature of a fitted processor and each label.

    Args:
        source: The files.
        processor: Our processor after fit.
        stats: Statistics of each split.
    """
    declared = {col["name"]: col for col in source.plan.features}
    vocabularies: dict[int, Vocabulary] = {}
    result, whole = [], whole_numbers(processor.fills)
    for name, spec in processor.feature_map.features.items():
        if spec["type"] == "embedding":
            result.append(_vectors(name, spec["pretrain_dim"]))
        elif spec["type"] == "numeric":
            result.append(_numeric(name, processor.processor_dict.get(f"{name}::normalizer")))
        elif f"{name}::tokenizer" not in processor.processor_dict:
            spans = [bound for s in stats.values() for bound in s.spans[name]]
            result.append(_raw_ids(name, [*spans, declared[name].get("fill_na", 0)]))
        else:
            tokenizer = processor.processor_dict[f"{name}::tokenizer"]
            # Columns that share a table share one dict.
            key = id(tokenizer.vocab)
            if key not in vocabularies:
                vocabularies[key] = Vocabulary(tokenizer.vocab)
            words = vocabularies[key]
            if spec["type"] == "sequence":
                encoder = _sequence(name, tokenizer, words)
            elif name in whole:
                ids_of = words.of_written_numbers(whole[name].text)
                encoder = Encoder(name, words.dtype, pl.col(whole[name].numbers), ids_of)
            elif declared[name]["dtype"] is str:
                encoder = _text(name, words)
            else:
                encoder = Encoder(name, words.dtype, pl.col(name), words.of_numbers())
            # The values of a meta column come from all splits.
            unknown = None if spec["type"] == "meta" else int(words.unknown)
            result.append(replace(encoder, unknown=unknown))
    labels = [c.name for c in source.plan.columns if c.kind == "label"]
    return result + [_label(name, [s.labels[name] for s in stats.values()]) for name in labels]


def encoded(
    source: Source,
    frame: pl.LazyFrame,
    columns: Sequence[Encoder],
    block_rows: int = BLOCK_ROWS,
    fills: Sequence[Fill] = (),
    tallies: Mapping[str, Tally] | None = None,
) -> Iterator[dict[str, Array]]:
    """Encode the rows of a split in their order.

    Args:
        source: The files, to explain an error of reading.
        frame: The split's columns with missing values filled.
        columns: The encoders.
        block_rows: The most rows encoded at a time; fewer where they are wide. Bounds the memory.
        fills: What missing values become.
        tallies: Of each column; get the split's counts.

    Yields:
        A block's arrays by column: (rows,) or (rows, width).

    Raises:
        DataError: A file cannot be read, or a scaled number does not fit float32.
    """
    row_bytes = sum(column.dtype.itemsize * max(column.width, 1) for column in columns)
    block_rows = min(block_rows, 1 << max((_BLOCK_BYTES // row_bytes).bit_length() - 1, 0))
    tallies = {column.name: Tally() for column in columns} if tallies is None else tallies
    flags = [(fill, pl.col(missing_flag(fill.source))) for fill in fills]
    query = frame.select(
        *(column.query.alias(column.name) for column in columns),
        *(missing.alias(f"{i} missing") for i, (_, missing) in enumerate(flags)),
        *((f.clashes & ~missing).alias(f"{i} clashes") for i, (f, missing) in enumerate(flags)),
    )
    with explained(source):
        blocks = query.collect_batches(
            chunk_size=block_rows, maintain_order=True, engine="streaming"
        )
    while True:
        with explained(source):
            block = next(blocks, None)
        if block is None:
            return
        arrays = {column.name: column.finish(block[column.name]) for column in columns}
        for column in columns:
            tallies[column.name].count(column, block[column.name], arrays[column.name])
        for i, fill in enumerate(fills):
            tallies[fill.name].missing += int(block[f"{i} missing"].sum())
            tallies[fill.name].clashes += int(block[f"{i} clashes"].sum())
        yield arrays


def _text(name: str, words: Vocabulary) -> Encoder:
    def finish(codes: pl.Series) -> Array:
        return words.ids[codes.to_numpy()]

    return Encoder(name, words.dtype, words.codes(pl.col(name)), finish)


def _sequence(name: str, tokenizer: Any, words: Vocabulary) -> Encoder:
    """Cut to the length, look up, and pad with 0, as FuxiCTR's ``pad_sequences``."""
    length, pre = int(tokenizer.max_len), tokenizer.padding == "pre"
    missing, ids = tokenizer._na_value, words.ids
    tokens = pl.col(name).list.tail(length) if pre else pl.col(name).list.head(length)
    codes = words.codes(pl.element())
    if isinstance(missing, str):
        # The missing token is padding, whether or not another column gave it an id.
        ids = np.append(ids, words.dtype.type(0))
        codes = (
            pl.when(pl.element() == missing).then(pl.lit(len(ids) - 1, pl.UInt32)).otherwise(codes)
        )
    place = np.arange(length)

    def finish(codes: pl.Series) -> Array:
        lengths = codes.list.len().to_numpy()[:, None]
        tokens = flat(codes).to_numpy()
        matrix = np.zeros((len(codes), length), dtype=words.dtype)
        matrix[place >= length - lengths if pre else place < lengths] = ids[tokens]
        return matrix

    return Encoder(name, words.dtype, tokens.list.eval(codes), finish, length)


def _numeric(name: str, normalizer: Any) -> Encoder:
    def finish(values: pl.Series) -> Array:
        numbers = values.to_numpy()
        if normalizer is not None:
            numbers = normalizer.transform(numbers)
        with np.errstate(over="ignore"):
            scaled = numbers.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise DataError(
                f"column {name!r}: a value is beyond float32 after its normalizer and fill_na; scale "
                "the column before, change fill_na, or leave the normalizer out."
            )
        return scaled

    plain = normalizer is None
    return Encoder(name, np.dtype(np.float32), pl.col(name), finish, as_it_is=plain, measured=plain)


def _vectors(name: str, width: int) -> Encoder:
    def finish(vectors: pl.Series) -> Array:
        return flat(vectors).to_numpy().reshape(-1, width)

    return Encoder(name, np.dtype(np.float32), pl.col(name), finish, width, measured=True)


def _raw_ids(name: str, values: Sequence[int]) -> Encoder:
    """Keep a meta column's integers, whose extremes are among ``values``."""
    dtype = integer_type(min(values), max(values))
    return Encoder(name, dtype, pl.col(name), lambda ids: ids.to_numpy().astype(dtype))


def _label(name: str, stats: Sequence[Mapping[str, Any]]) -> Encoder:
    # A missing label is NaN, which no integer is.
    binary = not any(label["other"] or label["nulls"] for label in stats)
    dtype = np.dtype(np.uint8 if binary else np.float32)

    def finish(label: pl.Series) -> Array:
        return label.to_numpy().astype(dtype)

    return Encoder(name, dtype, pl.col(name), finish, as_it_is=not binary)
