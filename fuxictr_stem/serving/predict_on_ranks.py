"""Scores of rows by several processes.

The first one reads and encodes the rows, as a `Predictor` does. It deals whole batches of each block to all
processes and gets their scores back. So the batches, and with them the scores, are those of one process to
the last bit. Each process keeps a part of the rows of every table.

Symbols: T tasks, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fuxictr_stem.distributed.messages import receive, send_to
from fuxictr_stem.runtime.group import Member
from fuxictr_stem.serving.predict import Array, Predictor, as_columns, kept_type
from fuxictr_stem.training.ranks import Ranks


@dataclass(frozen=True)
class RankPredictor(Predictor):
    """A `Predictor` of several processes: the first uses it as such, the others `join`."""

    ranks: Ranks

    @property
    def rows_together(self) -> int:
        """Every process gets as many batches of a block as any other."""
        return self.batch_size * self.ranks.count

    def join(self) -> None:
        """Score what the first process deals to this one, until that one calls this, too."""
        if self.ranks.is_first:
            self.ranks.from_first(lambda: None)
            return
        while (rows := self.ranks.from_first(int)) is not None:
            send_to(self._run_part(self._received(rows), rows), 0)

    def _score(self, arrays: Mapping[str, Array]) -> Tensor:
        columns = as_columns(arrays, self.features)
        rows = len(columns[self.features[0]])
        self.ranks.from_first(lambda: rows)
        for number in range(1, self.ranks.count):
            part = self._part(rows, number)
            for column in columns.values():
                send_to(column[part], number)
        mine = self._part(rows, 0)
        scores = [self._run_part({name: column[mine] for name, column in columns.items()}, rows)]
        for number in range(1, self.ranks.count):
            part = self._part(rows, number)
            scores.append(scores[0].new_empty(len(scores[0]), part.stop - part.start))
            receive(scores[-1], number)
        return torch.cat(scores, dim=1)

    def _part(self, rows: int, number: int) -> slice:
        """Return which of a block's rows a process scores: a run of its batches."""
        part = Member(number, self.ranks.count).share_of(-(-rows // self.batch_size))
        start, stop = (min(batch * self.batch_size, rows) for batch in part)
        return slice(start, stop)

    def _run_part(self, columns: Mapping[str, Tensor], rows: int) -> Tensor:
        """Return the scores of this process' part of a block, (T, N)."""
        # All look up rows of tables together, also one that has a batch less.
        return self._run(self._batches_of(columns, -(-rows // self.rows_together)))

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
