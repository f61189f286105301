"""Which rows of each batch one of several processes takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fuxictr_stem.data.loading.order import Index


@dataclass(frozen=True)
class BatchPart:
    """A process' part of every batch: a run of its rows; by default all of them.

    Example:
        >>> [BatchPart(number, 3).rows_of(8) for number in range(3)]
        [(0, 2), (2, 5), (5, 8)]
    """

    number: int = 0
    count: int = 1

    def rows_of(self, size: int) -> tuple[int, int]:
        """Return the first row of the part in a batch of some size, and the one after its last."""
        return size * self.number // self.count, size * (self.number + 1) // self.count

    def places(self, rows: int, batch_size: int) -> Index:
        """Return which of a split's rows the parts of its batches are, in their order."""
        starts = range(0, rows, batch_size)
        parts = [self.rows_of(min(batch_size, rows - start)) for start in starts]
        return np.concatenate(
            [start + np.arange(*part) for start, part in zip(starts, parts, strict=True)]
        )
