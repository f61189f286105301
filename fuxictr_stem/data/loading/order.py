"""In which order an epoch visits the rows, and which of each batch a process takes.

The order is a function of (seed, epoch) alone: chunks of rows are permuted, a run of permuted
chunks is a window, and the rows of a window are permuted among themselves. One window is what a
streaming pass holds in memory; a split of one window (2,097,152 rows) is shuffled uniformly. Where rows
take more than 512 bytes, a window has fewer: as many as the split's file decides, whatever is read of it.
`OrdersAhead` makes the order of the next window in a thread while this one is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxictr_stem.runtime.group import Member

Index = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]


@dataclass(frozen=True)
class Window:
    """Rows that are visited together."""

    starts: Index  # first row of each chunk, in the order of the chunks
    stops: Index  # the row after each chunk's last
    key: tuple[int, ...] | None  # seeds the permutation of the rows; None leaves their order

    @property
    def size(self) -> int:
        """Number of rows."""
        return int((self.stops - self.starts).sum())

    def order(self) -> Index | None:
        """Return the permutation of the rows as the chunks give them, or None for their order."""
        return None if self.key is None else np.random.default_rng(self.key).permutation(self.size)

    def rows(self) -> Index:
        """Return the rows of the split in visiting order."""
        # Half as wide where that is enough: the permutation visits them at random.
        dtype = np.int32 if self.stops.max() <= np.iinfo(np.int32).max else np.int64
        runs = zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        rows = np.concatenate([np.arange(start, stop, dtype=dtype) for start, stop in runs])
        order = self.order()
        return rows if order is None else rows.take(order)


@dataclass(frozen=True)
class RowOrder:
    """The orders of all epochs of a split.

    Example:
        >>> order = RowOrder(rows=5, chunk=2, window=2, shuffle=False, seed=0)
        >>> [window.rows().tolist() for window in order.windows(epoch=0)]
        [[0, 1, 2, 3], [4]]
    """

    rows: int  # rows of the split
    chunk: int  # rows of a chunk
    window: int  # chunks of a window
    shuffle: bool  # False visits the rows in their order
    seed: int  # with the epoch, decides the order

    @property
    def num_windows(self) -> int:
        """Number of windows of an epoch."""
        return -(-self.rows // (self.chunk * self.window))

    def windows(self, epoch: int) -> Iterator[Window]:
        """Return the windows of an epoch in their order."""
        starts = np.arange(0, self.rows, self.chunk)
        if self.shuffle:
            starts = np.random.default_rng((self.seed, epoch)).permutation(starts)
        for number, first in enumerate(range(0, len(starts), self.window), 1):
            some = starts[first : first + self.window]
            # From 1 on: a trailing 0 would seed as the chunks' own key does.
            key = (self.seed, epoch, number) if self.shuffle else None
            yield Window(some, np.minimum(some + self.chunk, self.rows), key)


class OrdersAhead:
    """Makes the orders of windows by a function, each while the window before is in use.

    A permutation of millions of rows takes longer than a batch; NumPy makes it without holding up the
    thread that trains.
    """

    def __init__(self, make: Callable[[Window], Index | None]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self._next: tuple[Window, Future[Index | None]] | None = None

    def start(self, window: Window, following: Window | None) -> Future[Index | None]:
        """Begin with a window's order, unless that has begun, and with that of the one after it."""
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0].key == window.key:
            order = waiting[1]
        else:
            order = self._pool.submit(self._make, window)
        if following is not None and following.key is not None:
            self._next = (following, self._pool.submit(self._make, following))
        return order


def rows_of_share(member: Member, rows: int, batch_size: int) -> Index:
    """Return which of a split's rows a process gets, its share of each batch, in their order."""
    starts = range(0, rows, batch_size)
    shares = [member.share_of(min(batch_size, rows - start)) for start in starts]
    return np.concatenate(
        [start + np.arange(*share) for start, share in zip(starts, shares, strict=True)]
    )
