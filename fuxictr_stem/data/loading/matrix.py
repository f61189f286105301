"""Columns of a cache file side by side in one matrix per type."""

from __future__ import annotations

import math
import mmap
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import numpy as np
import torch

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.order import Index
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.group import Group

Matrices = list[torch.Tensor]

# Rows read at a time: short enough for the rows of all columns to stay in the processor's cache.
_READ_ROWS = 1 << 15


@dataclass(frozen=True)
class Layout:
    """Which matrix holds which column.

    Columns of four bytes lie in one int32 matrix whatever they are: one visit to memory gathers a row.
    """

    dtypes: tuple[torch.dtype, ...]  # of the matrices
    widths: tuple[int, ...]  # how many columns each has
    # Per column of the file: its matrix, its column or columns there, and its type.
    places: Mapping[str, tuple[int, int | slice, torch.dtype]]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in all matrices."""
        return sum(d.itemsize * w for d, w in zip(self.dtypes, self.widths, strict=True))

    def columns(self, matrices: Matrices) -> dict[str, torch.Tensor]:
        """Return the columns of some rows as views of their matrices."""
        batch = dict.fromkeys(self.places, matrices[0])
        for (group, dtype), single, wide in self._kinds:
            view = _as(matrices[group], dtype)
            columns = view.unbind(1)
            batch.update((name, columns[place]) for name, place in single)
            batch.update((name, view[:, place]) for name, place in wide)
        return batch

    @cached_property
    def _kinds(self) -> list[tuple[tuple[int, torch.dtype], list[Any], list[Any]]]:
        """By matrix and type: the names and places of columns of one value, and of several."""
        kinds: dict[tuple[int, torch.dtype], tuple[list[Any], list[Any]]] = {}
        for name, (group, place, dtype) in self.places.items():
            single_and_wide = kinds.setdefault((group, dtype), ([], []))
            single_and_wide[isinstance(place, slice)].append((name, place))
        return [(kind, *lists) for kind, lists in kinds.items()]


def _as(matrix: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return matrix if matrix.dtype == dtype else matrix.view(dtype)


class Rows:
    """Rows of matrices in the order in which they are handed out.

    ``index`` is the place of each row in the matrices; None keeps their order, from row ``base`` on.
    """

    def __init__(self, matrices: Matrices, index: Index | None, base: int = 0) -> None:
        self._matrices = matrices
        self._index: Index | torch.Tensor | None = index
        if index is not None and matrices[0].is_cuda:
            self._index = torch.from_numpy(index).to(matrices[0].device)
        self._base = base

    def take(self, start: int, stop: int) -> Matrices:
        """Return copies of some rows of each matrix."""
        if self._index is None:
            start, stop = start + self._base, stop + self._base
            return [matrix[start:stop].clone() for matrix in self._matrices]
        index = self._index[start:stop]
        if isinstance(index, torch.Tensor):
            return [matrix.index_select(0, index) for matrix in self._matrices]
        # NumPy's takes one core: PyTorch's would keep another from making the next order.
        return [torch.from_numpy(matrix.numpy().take(index, axis=0)) for matrix in self._matrices]


def layout(file: h5py.File, features: Sequence[str], labels: Sequence[str]) -> tuple[int, Layout]:
    """Return the rows of an open h5 file and the layout for some of its columns.

    Features keep their kind: ids are int32 (int64 where the file has them), numbers float32. Labels are
    float32 whatever they are in the file.

    Raises:
        DataError: A column is absent, stored elsewhere, or of another length.
    """
    places: dict[str, tuple[int, int | slice, torch.dtype]] = {}
    widths: dict[torch.dtype, int] = {}
    lengths: dict[str, int] = {}
    for name in [*features, *labels]:
        data = store.column(file, name)
        lengths[name] = data.shape[0]
        dtype = torch.float32 if name in labels else _dtype(data.dtype)
        kept = torch.int32 if dtype.itemsize == torch.int32.itemsize else dtype
        group = list(widths).index(kept) if kept in widths else len(widths)
        at = widths.setdefault(kept, 0)
        width = 1 if data.ndim == 1 else data.shape[1]
        places[name] = (group, at if data.ndim == 1 else slice(at, at + width), dtype)
        widths[kept] += width
    if len(set(lengths.values())) != 1:
        raise DataError(f"{file.filename}: its columns have different lengths: {lengths}.")
    return next(iter(lengths.values())), Layout(tuple(widths), tuple(widths.values()), places)


def whole_row_bytes(file: h5py.File) -> int:
    """Return the bytes that a row of all columns of a file takes in matrices."""
    columns = [store.column(file, name) for name in file]
    return sum(_dtype(data.dtype).itemsize * math.prod(data.shape[1:]) for data in columns)


def read_rows(file: h5py.File, plan: Layout, starts: Index, stops: Index) -> Matrices:
    """Return runs of rows, each from its start up to its stop, one after the other.

    Raises:
        DataError: The file is damaged.
    """
    size = int((stops - starts).sum())
    shapes = zip(plan.widths, plan.dtypes, strict=True)
    matrices = [torch.empty((size, width), dtype=dtype) for width, dtype in shapes]
    fill_rows(file, plan, starts, stops, matrices)
    return matrices


def fill_rows(
    file: h5py.File, plan: Layout, starts: Index, stops: Index, matrices: Matrices
) -> None:
    """Read runs of rows, as `read_rows`, into matrices that are as large."""
    columns = [
        (store.column(file, name), _as(matrices[group], dtype).numpy(), place)
        for name, (group, place, dtype) in plan.places.items()
    ]
    at = 0
    for first, last in zip(starts.tolist(), stops.tolist(), strict=True):
        for start in range(first, last, _READ_ROWS):
            stop = min(start + _READ_ROWS, last)
            for data, view, place in columns:
                view[at : at + stop - start, place] = store.read(data, start, stop)
            at += stop - start


def shared_rows(file: h5py.File, plan: Layout, rows: int, group: Group) -> Matrices | None:
    """Return all rows of a split in memory that the processes of a machine share, which none may write.

    The first one reads them into memory that has no name (``memfd_create``): the system frees it with the
    last process that has it mapped, however that one ends, and no limit of /dev/shm counts it. The others
    open it by what /proc says of the first one. Each process of the group calls this; all get None where
    the system does not let them share.

    Raises:
        DataError: The file is damaged.
    """
    with ExitStack() as opened:
        places = group.from_first(lambda: _read_shared(file, plan, rows, opened))
        matrices = None if places is None else _mapped(places, plan, rows)
        # The first one keeps its handles open until here.
        return matrices if all(group.exchange(matrices is not None)) else None


def _read_shared(file: h5py.File, plan: Layout, rows: int, opened: ExitStack) -> list[str] | None:
    """Read the rows into new memory; return where each matrix can be opened."""
    if not hasattr(os, "memfd_create"):
        return None
    places, matrices = [], []
    for width, dtype in zip(plan.widths, plan.dtypes, strict=True):
        try:
            handle = os.memfd_create("fuxictr_stem rows")
        except OSError:
            return None
        opened.callback(os.close, handle)
        os.truncate(handle, rows * width * dtype.itemsize)
        places.append(f"/proc/{os.getpid()}/fd/{handle}")
        memory = mmap.mmap(handle, 0)
        matrices.append(torch.frombuffer(memory, dtype=dtype).view(rows, width))
    fill_rows(file, plan, np.array([0]), np.array([rows]), matrices)
    return places


def _mapped(places: list[str], plan: Layout, rows: int) -> Matrices | None:
    """Return what is in memory at some places, to be read only; None if it cannot be opened."""
    matrices = []
    for place, width, dtype in zip(places, plan.widths, plan.dtypes, strict=True):
        try:
            with open(place, "rb") as file:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError:
            return None
        with warnings.catch_warnings():
            # PyTorch has no tensors that cannot be written; nothing writes to a split.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            matrices.append(torch.frombuffer(memory, dtype=dtype).view(rows, width))
    return matrices


def _dtype(stored: np.dtype[Any]) -> torch.dtype:
    if stored.kind == "f":
        return torch.float32
    return torch.int32 if np.can_cast(stored, np.int32) else torch.int64
