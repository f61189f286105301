"""Weights read from safetensors without a second copy of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from fuxictr_stem.layers import FieldTables
from fuxictr_stem.layers.row_shards import RowShard

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


def shards_of(model: nn.Module) -> dict[str, RowShard]:
    """Return what this process keeps of the weights that several processes split, by name."""
    return {
        f"{name}.table.weight": module.shard
        for name, module in model.named_modules()
        if isinstance(module, FieldTables) and module.shard is not None
    }


def whole_sizes(model: nn.Module) -> dict[int, int]:
    """Return how many numbers each parameter has, by its ``id``, a table that is split as a whole."""
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        if isinstance(module, FieldTables):
            weight = module.table.weight
            sizes[id(weight)] = module.num_rows * weight.shape[1]
    return sizes


def _read_into(model: nn.Module, path: str) -> None:
    tensors, shards = model.state_dict(), shards_of(model)
    with safe_open(path, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    # `save_model` writes what several names share under one of them.
    written = {tensors[name].data_ptr() for name in shapes if name in tensors}
    tensors = {n: t for n, t in tensors.items() if n in shapes or t.data_ptr() not in written}
    wanted = {name: list(tensor.shape) for name, tensor in tensors.items()}
    for name, shard in shards.items():
        wanted[name][0] = shard.rows
    if shapes != wanted:
        names = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
        raise RuntimeError(
            f"{len(names)} tensors are missing, left over or of another shape, such as {names[0]!r}: "
            f"{shapes.get(names[0])} in the file, {wanted.get(names[0])} in the model"
        )
    copy_from(path, tensors, shards, wanted)


def copy_from(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    shards: Mapping[str, RowShard],
    shapes: Mapping[str, Sequence[int]],
) -> None:
    """Copy a file's tensors of these shapes, some rows at a time, and of some only what is kept here."""
    for block in _blocks(tensors, shapes):
        # What was read counts as memory of the process until the file is closed.
        with safe_open(path, "pt") as file:
            for name, rows in block:
                target = tensors[name]
                source = file.get_slice(name)[rows] if target.dim() else file.get_tensor(name)
                if name in shards:
                    at, slots = shards[name].kept(torch.arange(rows.start, rows.stop))
                    target[slots] = source[at].to(target.dtype)
                else:
                    target[rows].copy_(source)


def _blocks(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> Iterator[list[tuple[str, Any]]]:
    """Yield tensors by name and rows of what the file has, together of bounded size."""
    block: list[tuple[str, Any]] = []
    room = _BLOCK_BYTES
    for name, tensor in tensors.items():
        row_bytes = tensor.element_size() * max(tensor[:1].numel(), 1) if tensor.dim() else 8
        step = max(1, _BLOCK_BYTES // row_bytes)
        length = shapes[name][0] if tensor.dim() else 1
        for start in range(0, length, step):
            rows = slice(start, min(start + step, length)) if tensor.dim() else ...
            size = row_bytes * (rows.stop - rows.start if isinstance(rows, slice) else 1)
            if size > room:
                yield block
                block, room = [], _BLOCK_BYTES
            block.append((name, rows))
            room -= size
    yield block
