"""Weights read from safetensors without a second copy of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

_BLOCK_BYTES = 1 << 26


@torch.no_grad()
def read_into(model: nn.Module, path: str | Path) -> None:
    """Copy a file's tensors into a model, on any device, some rows at a time.

    Raises:
        RuntimeError: If the file's names or shapes are not the model's.
        SafetensorError: If it is not a safetensors file.
    """
    # One file throughout, though another process may meanwhile replace it.
    with open(path, "rb") as held:
        _read_into(model, f"/dev/fd/{held.fileno()}")


def _read_into(model: nn.Module, path: str) -> None:
    tensors = model.state_dict()
    with safe_open(path, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    # `save_model` writes what several names share under one of them.
    written = {tensors[name].data_ptr() for name in shapes if name in tensors}
    tensors = {n: t for n, t in tensors.items() if n in shapes or t.data_ptr() not in written}
    wanted = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if shapes != wanted:
        names = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        raise RuntimeError(
            f"{len(names)} tensors are missing, left over or of another shape, such as {names[0]!r}: "
            f"{shapes.get(names[0])} in the file, {wanted.get(names[0])} in the model"
        )
    for block in _blocks(tensors):
        # What was read counts as memory of the process until the file is closed.
        with safe_open(path, "pt") as file:
            for name, rows in block:
                target = tensors[name]
                source = file.get_slice(name)[rows] if target.dim() else file.get_tensor(name)
                target[rows].copy_(source)


def _blocks(tensors: Mapping[str, Tensor]) -> Iterator[list[tuple[str, Any]]]:
    """Yield tensors by name and rows, together of bounded size."""
    block: list[tuple[str, Any]] = []
    room = _BLOCK_BYTES
    for name, tensor in tensors.items():
        row_bytes = tensor.element_size() * max(tensor[:1].numel(), 1) if tensor.dim() else 8
        step = max(1, _BLOCK_BYTES // row_bytes)
        for start in range(0, len(tensor), step) if tensor.dim() else [0]:
            rows = slice(start, min(start + step, len(tensor))) if tensor.dim() else ...
            size = row_bytes * (rows.stop - rows.start if isinstance(rows, slice) else 1)
            if size > room:
                yield block
                block, room = [], _BLOCK_BYTES
            block.append((name, rows))
            room -= size
    yield block
