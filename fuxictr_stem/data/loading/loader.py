"""Batches of tensors from a cache file, from memory or streamed, in the same order either way."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch

from fuxictr_stem.config.schema import SEED
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.matrix import (
    Matrices,
    Rows,
    layout,
    read_rows,
    shared_rows,
    whole_row_bytes,
)
from fuxictr_stem.data.loading.order import OrdersAhead, RowOrder, Window
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.runtime.group import ALONE, Group, Member
from fuxictr_stem.runtime.memory import available_bytes, device_bytes
from fuxictr_stem.runtime.text_table import format_bytes

logger = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]


class H5Loader:
    """Iterates over the batches of one split of a cache, as FuxiCTR's data loaders do.

    A batch is ``{column: tensor}`` for the feature map's features and labels: (B,) for one value per
    row, (B, L) for a sequence or a vector; int32 (or int64) for ids, float32 for numbers and
    labels, NaN for a missing label. The tensors of a batch are views of one matrix, or of two where ids
    take eight bytes.

    Each ``iter()`` is the next epoch, beginning with 0. The order of an epoch depends on the seed
    and the epoch alone (see ``order``), not on where the rows are kept. A loader that streams keeps its
    file open: it reads on when the cache is removed or rebuilt.

    Args:
        feature_map: FuxiCTR's feature map: its features and labels are the columns.
        data_path: The h5 file of the split.
        split: ``test`` is never shuffled, as in FuxiCTR.
        batch_size: Rows of a batch; the last one may have fewer.
        shuffle: Whether each epoch has an order of its own.
        seed: Decides the orders.
        memory_budget: Bytes that the split may take in memory; beyond it is streamed. None is half
            of the available memory.
        drop_last: Leave out a last batch that is not full.
        sample_spaces: Label whose 1 makes a row a sample of a task, by the task's label; also read.
        sample_weight: The column of the rows' weights, if there is one; also read.
        device: Where batches are gathered: the split, or the window of a streaming pass, is copied there
            as a whole if it is within the device's budget. None is the host.
        device_budget: Bytes that these rows may take on the device. None is half of what is free there.
        member: Which process this is, where several share each batch: its rows are handed out, perhaps
            none. The position is that of whole batches.
        host: The processes of this machine that read the same split. What is kept in memory is there once,
            if it is within the first one's budget.
        **kwargs: FuxiCTR hands every loader all of a run's parameters; the others are ignored.

    Attributes:
        batch_size: Rows of a batch.
        num_samples: Rows of the split.
        num_batches: Batches of an epoch.
        num_blocks: Parts in which the rows are read: one in memory, else one per window.

    Raises:
        ConfigError: An argument is out of range.
        DataError: The file is absent, damaged or lacks a column.
    """

    chunk_rows = store.CHUNK_ROWS
    """Rows that are read together in a shuffled epoch."""

    window_chunks = 128
    """Chunks whose rows are shuffled with one another; a streaming pass holds so many."""

    window_bytes = 1 << 30
    """The most bytes of these rows: wide rows make fewer chunks a window, and then smaller chunks.

    All columns of the file count, whichever are read: the order must not depend on that.
    """

    def __init__(
        self,
        feature_map: Any,
        data_path: str | Path,
        split: str = "train",
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = SEED,
        memory_budget: int | None = None,
        drop_last: bool = False,
        sample_spaces: Mapping[str, str] | None = None,
        sample_weight: str | None = None,
        device: torch.device | None = None,
        device_budget: int | None = None,
        member: Member = ALONE,
        host: Group = ALONE,
        **kwargs: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, found {batch_size}.")
        if seed < 0:
            raise ConfigError(f"seed must be 0 or more, found {seed}.")
        path = str(data_path)
        self.path = Path(path if path.endswith(".h5") else f"{path}.h5")
        self.batch_size, self._member = batch_size, member
        labels = [*feature_map.labels, *(sample_spaces or {}).values()]
        if sample_weight is not None:
            labels.append(sample_weight)
        file = store.open_file(self.path)
        self.num_samples, self._layout = layout(
            file, list(feature_map.features), list(dict.fromkeys(labels))
        )
        full, rest = divmod(self.num_samples, batch_size)
        self.num_batches = full + (1 if rest and not drop_last else 0)
        most = max(self.window_bytes // whole_row_bytes(file), 1)
        chunk = min(self.chunk_rows, 1 << (most.bit_length() - 1))
        self._order = RowOrder(
            rows=self.num_samples,
            chunk=chunk,
            window=min(self.window_chunks, most // chunk),
            shuffle=shuffle and split != "test",
            seed=seed,
        )
        # The position: of the pass that runs, or where the next iter() begins.
        self._epoch = self._batch = 0
        # Whether a pass has begun there; the next iter() is then an epoch later.
        self._used = False
        # The pass that moves the position; an older one that still runs does not.
        self._pass: object = None
        needed = self.num_samples * self._layout.row_bytes
        budget = available_bytes() // 2 if memory_budget is None else memory_budget
        self._file = file
        self._matrices: Matrices | None = None
        # Whether these are another process', too, which counts them.
        self._mapped = False
        if host.count > 1 and host.from_first(lambda: needed <= budget):
            self._matrices = shared_rows(file, self._layout, self.num_samples, host)
            self._mapped = self._matrices is not None and not host.is_first
        if self._matrices is None and needed <= budget // host.count:
            start, stop = np.array([0]), np.array([self.num_samples])
            self._matrices = read_rows(file, self._layout, start, stop)
        if self._matrices is not None:
            file.close()
        # Without room on the device, batches are gathered on the host, and the model moves them.
        self._device = None
        if device is not None:
            free = device_bytes(device) // 2 if device_budget is None else device_budget
            self._device = device if self.memory_bytes <= free else None
        if self._matrices is not None:
            self._matrices = self._moved(self._matrices)
        self._ahead = OrdersAhead(Window.rows if self.in_memory else Window.order)
        self.num_blocks = 1 if self.in_memory else self._order.num_windows
        kept = f"{format_bytes(needed)} {'in memory' if self.in_memory else 'streamed'}"
        logger.debug("%s: %s rows, %s", self.path, f"{self.num_samples:,}", kept)

    @property
    def in_memory(self) -> bool:
        """Whether the split is kept in memory."""
        return self._matrices is not None

    @property
    def on_device(self) -> bool:
        """Whether the rows that are in memory at a time are on the device."""
        return self._device is not None

    @property
    def memory_bytes(self) -> int:
        """Bytes of the rows that are in memory at a time."""
        window = self._order.chunk * self._order.window
        rows = self.num_samples if self.in_memory else min(window, self.num_samples)
        return rows * self._layout.row_bytes

    @property
    def host_bytes(self) -> int:
        """Bytes of these that are in the CPU's memory, on account of this process."""
        return 0 if self.on_device or self._mapped else self.memory_bytes

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self.num_batches

    def __iter__(self) -> Iterator[Batch]:
        """Begin the next epoch, or continue where ``set_epoch`` or ``load_state_dict`` put it."""
        if self._used:
            self._epoch, self._batch = self._epoch + 1, 0
        self._used = True
        self._pass = token = object()
        return self._batches(self._epoch, self._batch, token)

    def set_epoch(self, epoch: int) -> None:
        """Have the next ``iter()`` begin an epoch, counted from 0."""
        self._go_to(epoch, 0)

    def state_dict(self) -> dict[str, int]:
        """Return the position after the batches handed out so far.

        After the last batch of an epoch it is (that epoch, all its batches) until the loop asks for
        another, then (the next epoch, 0).
        """
        return {"epoch": self._epoch, "batch": self._batch, "seed": self._order.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Have the next ``iter()`` continue from the position of a loader of the same split and batch size.

        Raises:
            ConfigError: There is no such position.
        """
        self._go_to(state["epoch"], state["batch"])
        self._order = replace(self._order, seed=state["seed"])

    def _go_to(self, epoch: int, batch: int) -> None:
        if epoch < 0 or not 0 <= batch <= self.num_batches:
            raise ConfigError(
                f"{self.path}: there is no epoch {epoch}, batch {batch:,}: an epoch has "
                f"{self.num_batches:,} batches of {self.batch_size:,}. Resume with the batch_size "
                "and the data of the run to be continued."
            )
        self._epoch, self._batch = epoch, batch
        self._used = False
        self._pass = None

    def _batches(self, epoch: int, batch: int, token: object) -> Iterator[Batch]:
        """Hand out an epoch's batches from a given one on."""
        skip = batch * self.batch_size
        pieces: list[Matrices] = []
        missing = self.rows_in(batch)
        windows = [*self._order.windows(epoch), next(self._order.windows(epoch + 1), None)]
        for window, following in pairwise(windows):
            if window is None or not missing:
                break
            if skip >= window.size:
                skip -= window.size
                continue
            rows = self._open(window, following)
            at, skip = skip, 0
            while missing and at < window.size:
                stop = min(at + missing, window.size)
                ours = at, stop
                if self._member.count > 1:
                    ours = self._part(batch, at + missing - self.rows_in(batch), at, stop)
                pieces.append(rows.take(*ours))
                missing -= stop - at
                at = stop
                if not missing:
                    batch += 1
                    if self._pass is token:
                        self._batch = batch
                    yield self._columns(pieces)
                    pieces, missing = [], self.rows_in(batch)
            # The next window is read when this one is gone.
            del rows
        if self._pass is token:
            self._go_to(epoch + 1, 0)

    def _part(self, batch: int, begin: int, at: int, stop: int) -> tuple[int, int]:
        """Return which places of a window, of some, hold our rows of a batch that begins there."""
        first, last = (begin + row for row in self._member.share_of(self.rows_in(batch)))
        first = min(max(first, at), stop)
        return first, max(first, min(last, stop))

    def rows_in(self, batch: int) -> int:
        """Return the number of rows of a batch, 0 after the last."""
        if batch >= self.num_batches:
            return 0
        return min(self.batch_size, self.num_samples - batch * self.batch_size)

    def _open(self, window: Window, following: Window | None) -> Rows:
        if self._matrices is None:
            order = self._ahead.start(window, following)
            # The system may keep the caller waiting.
            Thread(target=store.read_ahead, args=(self.path,), daemon=True).start()
            matrices = read_rows(self._file, self._layout, window.starts, window.stops)
            return Rows(self._moved(matrices), order.result())
        if window.key is None:
            return Rows(self._matrices, None, int(window.starts[0]))
        return Rows(self._matrices, self._ahead.start(window, following).result())

    def _moved(self, matrices: Matrices) -> Matrices:
        """Return rows where batches are gathered."""
        if self._device is None:
            return matrices
        return [matrix.to(self._device) for matrix in matrices]

    def _columns(self, pieces: list[Matrices]) -> Batch:
        """Join the parts of a batch and name its columns."""
        whole = [
            torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*pieces, strict=True)
        ]
        return self._layout.columns(whole)
