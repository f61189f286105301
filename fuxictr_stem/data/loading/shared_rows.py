"""Rows that are kept in memory once for all processes of a machine.

The first one reads them into memory that has no name (``memfd_create``): the system frees it with the last
process that has it mapped, however that one ends, and no limit of /dev/shm counts it. The others open it by
what /proc says of the first one.
"""

from __future__ import annotations

import mmap
import os
import warnings
from contextlib import ExitStack

import h5py
import numpy as np
import torch

from fuxictr_stem.data.loading.matrix import Layout, Matrices, fill_rows
from fuxictr_stem.runtime.group import Group


def shared_rows(file: h5py.File, plan: Layout, rows: int, group: Group) -> Matrices | None:
    """Return all rows of a split in memory that the processes of a group share, which none may write.

    Args:
        file: The open h5 file.
        plan: Which matrix holds which column.
        rows: Rows of the split.
        group: Processes of one machine, each of which calls this.

    Returns:
        The matrices, or None on all processes where the system does not let them share.

    Raises:
        DataError: The file is damaged.
    """
    with ExitStack() as opened:
        places = group.from_first(lambda: _read(file, plan, rows, opened))
        matrices = None if places is None else _mapped(places, plan, rows)
        # The first one keeps its handles open until here.
        return matrices if all(group.exchange(matrices is not None)) else None


def _read(file: h5py.File, plan: Layout, rows: int, opened: ExitStack) -> list[str] | None:
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
            # PyTorch has no tensors that cannot be written; nobody writes to a split.
            warnings.filterwarnings("ignore", "The given buffer is not writable")
            matrices.append(torch.frombuffer(memory, dtype=dtype).view(rows, width))
    return matrices
