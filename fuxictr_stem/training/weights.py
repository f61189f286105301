"""Weights read from safetensors without a second copy of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from fuxictr_stem.layers import FieldTables
from fuxictr_stem.layers.row_shards import RowShard

_BLOCK_BYTES = 1 << 26


class TensorFile:
    """The tensors in a safetensors file, whatever takes the file's place meanwhile."""

    shapes: dict[str, list[int]]  # by name
    dtypes: dict[str, torch.dtype]  # by name

    def __init__(self, path: str) -> None:
        self._path = path
        with safe_open(path, "pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            self.shapes = {name: list(part.get_shape()) for name, part in parts.items()}
            self.dtypes = {
                name: (part[:0] if self.shapes[name] else file.get_tensor(name)).dtype
                for name, part in parts.items()
            }

    def read(self, name: str, place: tuple[slice, ...] = ()) -> Tensor:
        """Return a tensor, or a part of it; what was read is memory of the process while that is kept."""
        with safe_open(self._path, "pt") as file:
            return file.get_slice(name)[place] if place else file.get_tensor(name)

    @torch.no_grad()
    def copy_into(self, tensors: Mapping[str, Tensor], shards: Mapping[str, RowShard]) -> None:
        """Copy tensors to those of the same names, on any device, some rows at a time.

        ``shards`` says which of them have only some rows, and which.
        """
        for block in self._blocks(tensors):
            # What was read counts as memory of the process until the file is closed.
            with safe_open(self._path, "pt") as file:
                for name, rows in block:
                    target = tensors[name]
                    source = file.get_slice(name)[rows] if target.dim() else file.get_tensor(name)
                    self._put(source, target, rows, shards.get(name))

    def _put(self, source: Tensor, target: Tensor, rows: slice, shard: RowShard | None) -> None:
        """Copy some rows of a tensor, or a number, to where they belong; of a shard, those kept here."""
        if shard is not None:
            at, slots = shard.kept(torch.arange(rows.start, rows.stop))
            target[slots] = source[at].to(target)
        elif target.dim():
            target[rows].copy_(source)
        else:
            target.copy_(source)

    def _blocks(self, tensors: Mapping[str, Tensor]) -> Iterator[list[tuple[str, slice]]]:
        """Yield tensors by name and rows of what the file has, together of bounded size."""
        block: list[tuple[str, slice]] = []
        room = _BLOCK_BYTES
        for name, tensor in tensors.items():
            row_bytes = tensor.element_size() * max(tensor[:1].numel(), 1) if tensor.dim() else 8
            step = max(1, _BLOCK_BYTES // row_bytes)
            length = self.shapes[name][0] if tensor.dim() else 1
            for start in range(0, length, step):
                rows = slice(start, min(start + step, length))
                size = row_bytes * (rows.stop - rows.start)
                if size > room:
                    yield block
                    block, room = [], _BLOCK_BYTES
                block.append((name, rows))
                room -= size
        yield block


Opener = Callable[[str | Path], AbstractContextManager[TensorFile]]
"""Opens a safetensors file."""


@contextmanager
def open_tensors(path: str | Path) -> Iterator[TensorFile]:
    """Open a safetensors file; OSError or SafetensorError if it is none."""
    with open(path, "rb") as held:
        yield TensorFile(f"/dev/fd/{held.fileno()}")


def read_into(model: nn.Module, path: str | Path, opener: Opener = open_tensors) -> None:
    """Copy a file's tensors into a model, on any device, some rows at a time.

    Raises:
        RuntimeError: If the file's names or shapes are not the model's.
        SafetensorError: If it is not a safetensors file.
    """
    with opener(path) as file:
        tensors, shards, shapes = model.state_dict(), shards_of(model), file.shapes
        # `save_model` writes what several names share under one of them.
        written = {tensors[name].data_ptr() for name in shapes if name in tensors}
        tensors = {n: t for n, t in tensors.items() if n in shapes or t.data_ptr() not in written}
        wanted = {name: list(tensor.shape) for name, tensor in tensors.items()}
        for name, shard in shards.items():
            wanted[name][0] = shard.rows
        if shapes != wanted:
            both = {*shapes, *wanted}
            names = sorted(name for name in both if shapes.get(name) != wanted.get(name))
            raise RuntimeError(
                f"{len(names)} tensors are missing, left over or of another shape, such as "
                f"{names[0]!r}: {shapes.get(names[0])} in the file, {wanted.get(names[0])} in the model"
            )
        file.copy_into(tensors, shards)


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
