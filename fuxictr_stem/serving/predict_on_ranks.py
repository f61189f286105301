"""Scores of rows by several processes.

The first one reads and encodes the rows, as a `Predictor` does. It deals whole batches of each block to all
processes and gets their scores back. So the batches, and with them the scores, are those of one process to
the last bit. Each process keeps a part of the rows of every table.

Symbols: T tasks, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuxictr_stem.data.loading.order import BatchPart
from fuxictr_stem.distributed.messages import receive, send_to
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
            self._send(columns, self._part(rows, number), number)
        mine = self._part(rows, 0)
        scores = [self._run_part({name: column[mine] for name, column in columns.items()}, rows)]
        for number in range(1, self.ranks.count):
            part = self._part(rows, number)
            scores.append(scores[0].new_empty(len(scores[0]), part.stop - part.start))
            receive(scores[-1], number)
        return torch.cat(scores, dim=1)

    def _part(self, rows: int, number: int) -> slice:
        """Return which of a block's rows a process scores: a run of its batches."""
        part = BatchPart(number, self.ranks.count).rows_of(-(-rows // self.batch_size))
        start, stop = (min(batch * self.batch_size, rows) for batch in part)
        return slice(start, stop)

    def _run_part(self, columns: Mapping[str, Tensor], rows: int) -> Tensor:
        """Return the scores of this process' part of a block, (T, N)."""
        # All look up rows of tables together, also one that has a batch less.
        return self._run(self._batches_of(columns, -(-rows // self.rows_together)))

    def _send(self, columns: Mapping[str, Tensor], part: slice, number: int) -> None:
        """Send a part of a block to a process, the columns of each type together."""
        for names in self._by_type().values():
            send_to(torch.cat([columns[name][part].flatten() for name in names]), number)

    def _received(self, rows: int) -> dict[str, Tensor]:
        """Return the part of a block that the first process sends to this one."""
        part = self._part(rows, self.ranks.number)
        count = part.stop - part.start
        columns: dict[str, Tensor] = {}
        for dtype, names in self._by_type().items():
            widths = [self.encoder.width(name) for name in names]
            sizes = [count * (width or 1) for width in widths]
            numbers = torch.from_numpy(np.empty(sum(sizes), dtype))
            receive(numbers, 0)
            for name, width, column in zip(names, widths, numbers.split(sizes), strict=True):
                columns[name] = column.view(count, width) if width else column
        return columns

    def _by_type(self) -> dict[np.dtype[Any], list[str]]:
        names: dict[np.dtype[Any], list[str]] = {}
        for name in self.features:
            names.setdefault(kept_type(self.encoder.dtype(name)), []).append(name)
        return names
