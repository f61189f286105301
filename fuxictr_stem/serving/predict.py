"""Scores of rows, batch by batch: the next block is read and encoded while the model runs over one.

Symbols: T tasks, N rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from fuxictr_stem.data.encoding.encode import Block, Tally
from fuxictr_stem.data.encoding.remarks import mostly_unknown, percent
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.distributed.messages import receive, send_to
from fuxictr_stem.errors import ConfigError, DataError, listed, raise_all
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.runtime.group import Member
from fuxictr_stem.runtime.outputs import remove_leftovers, replacing
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.runtime.read_ahead import ahead
from fuxictr_stem.serving.rows_to_score import (
    Blocks,
    Data,
    Frame,
    Wanted,
    aligned,
    file_rows,
    files_of,
    is_pandas,
    open_rows,
    rows_of,
)
from fuxictr_stem.serving.score_files import check_place, score_blocks
from fuxictr_stem.training.evaluation import forward
from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)

Array = np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A model with what it needs to score raw rows. Each of ``ranks`` has one, with a part of every table.

    The first of them reads and encodes the rows; the others `join`. It deals whole batches of each block to
    all and gets their scores back. So the batches, and with them the scores, are those of one process to
    the last bit. With batches of the rows of training, scores are those of training.
    """

    model: MultiTaskNet  # in evaluation mode
    encoder: RowEncoder  # of its columns
    features: Sequence[str]  # the columns that it reads
    batch_size: int  # rows of a batch
    unknown: Mapping[str, float]  # by column, the share of train's ids that are the unknown one
    ranks: Ranks  # the processes that score rows together

    def scored(
        self, rows: Blocks, title: str = "Predict"
    ) -> Iterator[tuple[Block, dict[str, Array]]]:
        """Score rows in their order; warn at the end of columns whose ids are mostly unknown.

        Yields blocks of rows and their scores by label, (rows,) float32 each. In memory at a time: two
        blocks of rows encoded, and what reading a third takes.
        """
        tallies = {name: Tally() for name in self.features if name in self.unknown}
        for block in self._blocks(rows, title):
            for name, tally in tallies.items():
                unknown = self.encoder.unknown(name)
                if unknown is not None:
                    tally.count_ids(block.arrays[name], unknown)
            scores_TN = self._score(as_columns(block.arrays, self.features)).numpy()
            yield block, dict(zip(self.model.labels, scores_TN, strict=True))
        _warn_of_unknown(tallies, self.unknown)

    def batches(self, rows: Blocks, title: str) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of rows that `scored` runs the model over, in one process."""
        for block in self._blocks(rows, title):
            yield from self._batches(as_columns(block.arrays, self.features), rows_of(block))

    def join(self) -> None:
        """Score what the first process deals to this one, until that one calls this, too."""
        if self.ranks.is_first:
            self.ranks.from_first(lambda: None)
            return
        while (rows := self.ranks.from_first(int)) is not None:
            send_to(self._run(self._received(rows), rows), 0)

    @property
    def _rows_together(self) -> int:
        """The rows of a batch for each process; every block but the last holds a multiple of them."""
        return self.batch_size * self.ranks.count

    def _blocks(self, rows: Blocks, title: str) -> Iterator[Block]:
        """Pass on blocks of whole batches, and show how many rows are done."""
        with Progress(title, None, unit="rows") as progress:
            for block in ahead(aligned(rows(progress.expect), self._rows_together)):
                yield block
                progress.update(rows_of(block))

    def _score(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return the scores of a block, (T, N)."""
        rows = len(columns[self.features[0]])
        self.ranks.from_first(lambda: rows)
        mine, *parts = (self._part(rows, number) for number in range(self.ranks.count))
        for number, part in enumerate(parts, 1):
            for column in columns.values():
                send_to(column[part], number)
        scores = [self._run({name: column[mine] for name, column in columns.items()}, rows)]
        for number, part in enumerate(parts, 1):
            scores.append(scores[0].new_empty(len(scores[0]), part.stop - part.start))
            receive(scores[-1], number)
        return torch.cat(scores, dim=1)

    def _part(self, rows: int, number: int) -> slice:
        """Return which of a block's rows a process scores: a run of its batches."""
        part = Member(number, self.ranks.count).share_of(-(-rows // self.batch_size))
        start, stop = (min(batch * self.batch_size, rows) for batch in part)
        return slice(start, stop)

    def _received(self, rows: int) -> dict[str, Tensor]:
        """Return the part of a block that the first process sends to this one."""
        part = self._part(rows, self.ranks.number)
        columns = {}
        for name in self.features:
            width, dtype = self.encoder.width(name), kept_type(self.encoder.dtype(name))
            shape = [part.stop - part.start, *([width] if width else [])]
            columns[name] = torch.from_numpy(np.empty(shape, dtype))
            receive(columns[name], 0)
        return columns

    @torch.no_grad()
    def _run(self, columns: Mapping[str, Tensor], rows: int) -> Tensor:
        """Return the scores of this process' part of a block of some rows, (T, N) float32."""
        parts = []
        for batch in self._batches(columns, rows):
            outputs = forward(self.model, batch)
            scores = [outputs[f"{label}_pred"].flatten() for label in self.model.labels]
            parts.append(torch.stack(scores))
        return torch.cat(parts, dim=1).float().cpu()

    def _batches(self, columns: Mapping[str, Tensor], rows: int) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of this process' part of a block of some rows.

        All look up rows of tables together, so one that has a batch less gets one without a row.
        """
        columns = {name: column.to(self.model.device) for name, column in columns.items()}
        for batch in range(-(-rows // self._rows_together)):
            start, stop = batch * self.batch_size, (batch + 1) * self.batch_size
            yield {name: column[start:stop] for name, column in columns.items()}


def predict_frame(predictor: Predictor, data: Data, wanted: Wanted) -> Frame:
    """Score rows into a frame of the kind that came in; see `Run.predict`."""
    rows = open_rows(predictor.encoder, data, wanted)
    check_columns(predictor.model.labels, wanted.keep)
    parts = [_frame(*scored) for scored in predictor.scored(rows)]
    frame = pl.concat(parts, how="vertical_relaxed")
    return rows_like(data, frame, wanted.keep)


def rows_like(data: Data, frame: pl.DataFrame, keep: Sequence[str] = ()) -> Frame:
    """Return a row for each row of the data, in a frame of its kind; ``keep`` are columns of both."""
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
    remove_leftovers(path)
    count = 0
    with (
        replacing(path, pa.ArrowInvalid, pl.exceptions.PolarsError) as temporary,
        score_blocks(temporary) as append,
    ):
        rows = file_rows(predictor.encoder, files, wanted, scratch=temporary.parent)
        for scored in predictor.scored(rows):
            frame = _frame(*scored)
            append(frame)
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


def _frame(block: Block, scores: Mapping[str, Array]) -> pl.DataFrame:
    columns = (pl.Series(f"{label}_pred", values) for label, values in scores.items())
    return block.kept.with_columns(columns)


def as_columns(arrays: Mapping[str, Array], names: Sequence[str]) -> dict[str, Tensor]:
    """Return columns as the loader gives them to a model in training."""
    # PyTorch warns about read-only arrays.
    writable = {
        name: np.require(arrays[name], kept_type(arrays[name].dtype), "W") for name in names
    }
    return {name: torch.from_numpy(array) for name, array in writable.items()}


def kept_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which the loader gives a column of a type to a model."""
    kept = np.int32 if np.can_cast(dtype, np.int32) else np.int64
    return np.dtype(np.float32 if dtype.kind == "f" else kept)


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
