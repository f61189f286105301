"""Scores of rows, batch by batch: the next block is read and encoded while the model runs over one."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fuxictr_stem.data.encoding.encode import Block, Tally
from fuxictr_stem.data.encoding.remarks import mostly_unknown, percent
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError, listed, raise_all
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.serving.inputs import (
    Blocks,
    Data,
    Frame,
    Wanted,
    file_rows,
    files_of,
    is_pandas,
    open_rows,
    part_of,
)
from fuxictr_stem.serving.score_files import check_place, unfinished
from fuxictr_stem.training.evaluation import forward

logger = logging.getLogger(__name__)

Array = np.ndarray


class Scored(NamedTuple):
    """A block of rows and their scores by label, (rows,) float32 each."""

    block: Block
    scores: dict[str, Array]


@dataclass(frozen=True)
class Predictor:
    """A model with what it needs to score raw rows.

    With batches of the rows of training, scores are those of training.
    """

    model: MultiTaskNet  # in evaluation mode
    encoder: RowEncoder  # of its columns
    features: Sequence[str]  # the columns that it reads
    batch_size: int  # rows of a batch
    unknown: Mapping[str, float]  # by column, the share of train's ids that are the unknown one

    @property
    def rows_together(self) -> int:
        """Blocks hold a multiple of this number of rows, but for the last."""
        return self.batch_size

    def scored(self, rows: Blocks, title: str = "Predict") -> Iterator[Scored]:
        """Score rows in their order; warn at the end of columns whose ids are mostly unknown.

        In memory at a time: two blocks of rows encoded, and what reading a third takes.
        """
        tallies = {name: Tally() for name in self.features if name in self.unknown}
        for block in self._blocks(rows, title):
            for name, tally in tallies.items():
                unknown = self.encoder.unknown(name)
                if unknown is not None:
                    tally.count_ids(block.arrays[name], unknown)
            scores_TN = self._score(block.arrays).numpy()
            yield Scored(block, dict(zip(self.model.labels, scores_TN, strict=True)))
        _warn_of_unknown(tallies, self.unknown)

    def batches(self, rows: Blocks, title: str) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of rows that `scored` runs the model over."""
        for block in self._blocks(rows, title):
            yield from self._batches(block.arrays)

    def _blocks(self, rows: Blocks, title: str) -> Iterator[Block]:
        """Hand on blocks of whole batches, and show how many rows have been worked on."""
        with Progress(title, None, unit="rows") as progress:
            for block in _ahead(_aligned(rows(progress.expect), self.rows_together)):
                yield block
                progress.update(_rows(block))

    def _batches(self, arrays: Mapping[str, Array]) -> Iterator[dict[str, Tensor]]:
        columns = as_columns(arrays, self.features)
        return self._batches_of(columns, -(-len(columns[self.features[0]]) // self.batch_size))

    def _batches_of(self, columns: Mapping[str, Tensor], count: int) -> Iterator[dict[str, Tensor]]:
        """Yield some batches of columns; those beyond the last row have none."""
        device = self.model.device
        columns = {name: column.to(device) for name, column in columns.items()}
        for start in range(0, count * self.batch_size, self.batch_size):
            stop = start + self.batch_size
            yield {name: column[start:stop] for name, column in columns.items()}

    def _score(self, arrays: Mapping[str, Array]) -> Tensor:
        """Return the scores of a block, as of `_run`."""
        return self._run(self._batches(arrays))

    @torch.no_grad()
    def _run(self, batches: Iterable[dict[str, Tensor]]) -> Tensor:
        """Return the scores of batches, (T, rows) float32 of T tasks."""
        parts = []
        for batch in batches:
            outputs = forward(self.model, batch)
            scores = [outputs[f"{label}_pred"].flatten() for label in self.model.labels]
            parts.append(torch.stack(scores))
        return torch.cat(parts, dim=1).float().cpu()


def predict_frame(predictor: Predictor, data: Data, wanted: Wanted) -> Frame:
    """Score rows into a frame of the kind that came in; see `Run.predict`."""
    rows = open_rows(predictor.encoder, data, wanted)
    check_columns(predictor.model.labels, wanted.keep)
    parts = [_frame(scored) for scored in predictor.scored(rows)]
    frame = pl.concat(parts, how="vertical_relaxed")
    return rows_like(data, frame, wanted.keep)


def rows_like(data: Data, frame: pl.DataFrame, keep: Sequence[str] = ()) -> Frame:
    """Return a row for each of some data's, in a frame of its kind; ``keep`` are columns of both."""
    if is_pandas(data):
        made = frame.drop(keep)
        columns = {name: made[name].to_numpy() for name in made.columns}
        return data[list(keep)].assign(**columns)
    return frame.lazy() if isinstance(data, pl.LazyFrame) else frame


def write_predictions(path: Path, predictor: Predictor, data: Data, wanted: Wanted) -> int:
    """Score the rows of files into a file; return their number. See `Run.predict_to`."""
    files = files_of(data)
    if files is None:
        raise DataError("files must be paths. Use `predict` for a data frame.")
    check_columns(predictor.model.labels, wanted.keep)
    check_place(path, files)
    count = 0
    with unfinished(path) as file:
        rows = file_rows(predictor.encoder, files, wanted, file.scratch)
        for scored in predictor.scored(rows):
            frame = _frame(scored)
            file.append(frame)
            count += frame.height
    return count


def check_columns(labels: Sequence[str], keep: Sequence[str]) -> None:
    """Reject kept columns that are named twice or have the name of a score, in a ConfigError."""
    scores = [f"{label}_pred" for label in labels]
    problems = [f"{name!r} is named twice." for name in dict.fromkeys(keep) if keep.count(name) > 1]
    problems += [
        f"{name!r} is the name of a column of scores. Rename it in the data, or leave it out."
        for name in scores
        if name in keep
    ]
    raise_all(ConfigError, "keep", problems)


def _frame(scored: Scored) -> pl.DataFrame:
    scores = {f"{label}_pred": values for label, values in scored.scores.items()}
    return scored.block.kept.with_columns(pl.Series(n, values) for n, values in scores.items())


def as_columns(arrays: Mapping[str, Array], names: Sequence[str]) -> dict[str, Tensor]:
    """Return columns as the loader gives them to a model in training."""
    # PyTorch warns of arrays that cannot be written.
    writable = {
        name: np.require(arrays[name], kept_type(arrays[name].dtype), "W") for name in names
    }
    return {name: torch.from_numpy(array) for name, array in writable.items()}


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which the loader gives a column of a type to a model."""
    kept = np.int32 if np.can_cast(dtype, np.int32) else np.int64
    return np.dtype(np.float32 if dtype.kind == "f" else kept)


def _ahead(blocks: Generator[Block]) -> Iterator[Block]:
    """Hand on blocks, the next of which is made in a thread meanwhile."""
    try:
        with ThreadPoolExecutor(1, "encode") as thread:
            following = thread.submit(next, blocks, None)
            while (block := following.result()) is not None:
                following = thread.submit(next, blocks, None)
                yield block
    finally:
        blocks.close()


def _aligned(blocks: Iterator[Block], batch_size: int) -> Generator[Block]:
    """Cut blocks anew, so that all but the last hold whole batches, wherever files end."""
    rest: list[Block] = []
    waiting = 0
    for block in chain(blocks, [None]):
        if block is not None:
            rest.append(block)
            waiting += _rows(block)
        whole = waiting - waiting % batch_size if block is not None else waiting
        if whole:
            joined = _joined(rest)
            yield part_of(joined, 0, whole)
            rest = [part_of(joined, whole, waiting)] if whole < waiting else []
            waiting -= whole


def _rows(block: Block) -> int:
    return len(next(iter(block.arrays.values())))


def _joined(blocks: Sequence[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    arrays, labels = (
        {name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]}
        for parts in ([b.arrays for b in blocks], [b.labels for b in blocks])
    )
    # Two files may have a kept column in two types.
    return Block(arrays, labels, pl.concat([b.kept for b in blocks], how="vertical_relaxed"))


def _warn_of_unknown(tallies: Mapping[str, Tally], in_train: Mapping[str, float]) -> None:
    shares = {name: (t.unknown or 0) / t.values for name, t in tallies.items() if t.values}
    texts = [
        f"column {name!r}: {percent(share)} of the ids are unknown ({percent(in_train[name])} in train)."
        for name, share in shares.items()
        if mostly_unknown(share, in_train[name])
    ]
    if texts:
        heading = "Columns whose ids are mostly unknown: are they written as in train?"
        logger.warning("%s", listed(heading, texts))
