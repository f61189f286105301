"""Which rows of a table each of several processes keeps, and with which weights they begin.

The rows of a table but its padding, row 0, are permuted in a fixed way and cut into one run per process.
Without the permutation, the process with the first ids of a vocabulary that is sorted by frequency would
have most of the work. Every process has a padding row of its own, zero as everywhere.

Symbols: N rows of the whole table; S rows kept here, the padding included in both; U different rows of a
batch; W width of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fuxictr_stem.errors import ConfigError

_GOLDEN = (math.sqrt(5) - 1) / 2

BLOCK_ROWS = 1 << 14
"""Rows drawn at a time; a multiple of the 16 numbers that PyTorch draws together."""

_split: ContextVar[tuple[int, int] | None] = ContextVar("split", default=None)


@contextmanager
def rows_split(number: int, count: int) -> Iterator[None]:
    """Have the tables that are made within keep the rows of one process, whose number is from 0."""
    token = _split.set((number, count))
    try:
        yield
    finally:
        _split.reset(token)


@dataclass(frozen=True)
class RowShard:
    """The rows of a table that one process of several keeps.

    Example:
        >>> shards = [RowShard(8, number, 2) for number in range(2)]
        >>> [shard.kept(torch.arange(8))[0].tolist() for shard in shards]
        [[1, 3, 5], [2, 4, 6, 7]]
    """

    rows: int  # N
    number: int  # of the process, from 0
    count: int  # how many processes there are

    @classmethod
    def of_table(cls, rows: int) -> RowShard | None:
        """Return what this process keeps of a table that is being made; None for all of it."""
        split = _split.get()
        return None if split is None else cls(rows, *split)

    @property
    def size(self) -> int:
        """S."""
        first, stop = (self._others * n // self.count for n in (self.number, self.number + 1))
        return stop - first + 1

    def owners(self, rows: Tensor) -> Tensor:
        """Return the number of the process that keeps each of some rows from 1, (N,) to (N,) int64."""
        # The last n whose run begins, at places * n // count, no later than this one.
        return ((self._places(rows) + 1) * self.count - 1) // max(self._others, 1)

    def slots(self, rows: Tensor) -> Tensor:
        """Return where each of some rows from 1, (N,), is in the part of its process, (N,) int64."""
        return self._places(rows) - self._others * self.owners(rows) // self.count + 1

    def kept(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of some rows, (N,), are kept here: (M,) places in ``rows``, and (M,) slots here."""
        at = ((rows > 0) & (self.owners(rows) == self.number)).nonzero().flatten()
        return at, self.slots(rows[at])

    def draw(
        self,
        initializer: Callable[[Tensor], object],
        rows: slice,
        into_SD: Tensor,
        contiguous: bool,
    ) -> None:
        """Initialise what is kept of some rows, a run from 1 on, as if all of them were here.

        ``into_SD`` (S, D) is all that is kept of the table, or, unless ``contiguous``, D columns of it.
        """
        count = rows.stop - rows.start
        for start, block in draw_blocks(initializer, count, into_SD.shape[1], contiguous):
            first = rows.start + start
            at, slots = self.kept(torch.arange(first, first + len(block)))
            into_SD[slots] = block[at]

    @property
    def _others(self) -> int:
        """Rows besides the padding."""
        return self.rows - 1

    @cached_property
    def _stride(self) -> int:
        """Rows that follow one another are this far apart: the golden section spreads any run of them."""
        stride = max(int(self._others * _GOLDEN), 1)
        while math.gcd(stride, self._others) > 1:
            stride += 1
        return stride

    def _places(self, rows: Tensor) -> Tensor:
        return (rows - 1) * self._stride % max(self._others, 1)


class Fetched(NamedTuple):
    """The rows that a batch looks up, from wherever they are kept."""

    rows_U: Tensor  # (U,) the rows, ascending; row 0 is always among them
    weight_UW: Tensor  # (U, W) their numbers

    def slots(self, rows: Tensor) -> Tensor:
        """Return the places of some of these rows among them, in the shape of ``rows``."""
        return torch.searchsorted(self.rows_U, rows)


@torch.no_grad()
def draw_blocks(
    initializer: Callable[[Tensor], object], rows: int, width: int, contiguous: bool
) -> Iterator[tuple[int, Tensor]]:
    """Initialise a matrix in blocks of rows, with the numbers that its initializer gives the whole one.

    The initializer works in place, by operations on each number by itself, which are seen from how it
    treats the whole shape. PyTorch's draws also depend on whether rows are ``contiguous`` in memory.

    Yields:
        The first row of a block, and the block, (rows of it, ``width``); the next one overwrites it.

    Raises:
        ConfigError: The initializer looks at what it has drawn, as ``trunc_normal_``.
    """
    calls = _Calls()
    with calls:
        initializer(torch.empty(rows, width, device="meta"))
    if not calls.seen or any(operation not in _BY_NUMBER for operation, *_ in calls.seen):
        raise ConfigError(
            "embedding_initializer: tables that are split over several processes are drawn in blocks, "
            "which cannot be done with this one. Choose another, such as nn.init.normal_, or train in one "
            "process."
        )
    room = torch.empty(min(rows, 2 * BLOCK_ROWS), width if contiguous else width + 1)
    start = 0
    while start < rows:
        # The last one is no shorter than the others: a short one is drawn in another way.
        stop = start + BLOCK_ROWS if rows - start >= 2 * BLOCK_ROWS else rows
        block = room[: stop - start, :width]
        for operation, args, kwargs in calls.seen:
            operation(block, *args, **kwargs)
        yield start, block
        start = stop


_aten = torch.ops.aten
_BY_NUMBER = {
    _aten.normal_.default,
    _aten.uniform_.default,
    _aten.zero_.default,
    _aten.fill_.Scalar,
}


class _Calls(TorchDispatchMode):
    """Takes note of operations on a tensor that exists already."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not _aten.empty.memory_format:
            self.seen.append((func, args[1:], kwargs or {}))
        return func(*args, **(kwargs or {}))
