"""Tensors of several ranks, such as a model's weights, in one file as one process writes it.

The first rank writes and reads it, and gets or hands out the rows of tables some at a time: it never holds
a whole table, and no other host needs the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fuxictr_stem.distributed.messages import receive, send_to
from fuxictr_stem.layers.row_shards import RowShard
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.runtime.outputs import replacing
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.weights import TensorFile, shards_of

BLOCK_BYTES = 1 << 24
"""Bytes of a table's rows that are on their way at a time; the first rank has room for three blocks."""

# How safetensors calls the types that a state has.
_TYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint8: "U8",
}


def save(model: MultiTaskNet, ranks: Ranks, path: str) -> None:
    """Write a model's weights as safetensors; all ranks take part, and return when the file is there."""
    tensors, shards = model.state_dict(), shards_of(model)
    if ranks.is_first:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            write(tensors, shards, temporary)
    else:
        send(tensors, shards)
    ranks.from_first(lambda: None)


@torch.no_grad()
def write(tensors: Mapping[str, Tensor], shards: Mapping[str, RowShard], path: Path) -> None:
    """Write tensors as safetensors on the first rank, with what the others `send` of the split ones.

    Raises:
        OSError: The file cannot be written. The others have sent all nevertheless.
    """
    parts = (
        part
        for name, tensor in tensors.items()
        for part in (_blocks(tensor, shards[name]) if name in shards else [tensor.cpu()])
    )
    try:
        with path.open("wb") as file:
            _write_header(file, tensors, shards)
            for part in parts:
                file.write(part.reshape(-1).view(torch.uint8).numpy().data)
    except OSError:
        for _ in parts:
            pass
        raise


@torch.no_grad()
def send(tensors: Mapping[str, Tensor], shards: Mapping[str, RowShard]) -> None:
    """Send this rank's rows to the first one, which writes the same tensors."""
    for name in tensors:
        if name in shards:
            for rows in _row_blocks(tensors[name], shards[name]):
                send_to(tensors[name][shards[name].kept(rows)[1]], 0)


class _FileOfFirst(TensorFile):
    """A file of the first rank, of which each gets what it keeps; all take part in each call."""

    def __init__(self, ranks: Ranks, path: str | None) -> None:
        self._ranks = ranks
        if path is not None:
            super().__init__(path)
        header = ranks.from_first(
            lambda: {n: [_TYPES[self.dtypes[n]], shape] for n, shape in self.shapes.items()}
        )
        dtypes = {text: dtype for dtype, text in _TYPES.items()}
        self.dtypes = {name: dtypes[text] for name, (text, _) in header.items()}
        self.shapes = {name: shape for name, (_, shape) in header.items()}

    @torch.no_grad()
    def copy_into(self, tensors: Mapping[str, Tensor], shards: Mapping[str, RowShard]) -> None:
        if self._ranks.is_first:
            super().copy_into(tensors, shards)
            return
        for block in self._blocks(tensors):
            for name, rows in block:
                _receive_rows(tensors[name], rows, shards.get(name))

    def _put(self, source: Tensor, target: Tensor, rows: slice, shard: RowShard | None) -> None:
        source = source.to(target.dtype)
        for number in range(1, self._ranks.count):
            part = source
            if shard is not None:
                at, _ = replace(shard, number=number).kept(torch.arange(rows.start, rows.stop))
                part = source[at]
            if part.numel():
                send_to(part.flatten(), number)
        super()._put(source, target, rows, shard)


def _receive_rows(target: Tensor, rows: slice, shard: RowShard | None) -> None:
    """Receive what the first rank reads of some rows of a tensor, or of a number."""
    place: Any = rows if target.dim() else ...
    if shard is not None:
        _, place = shard.kept(torch.arange(rows.start, rows.stop))
    part = torch.empty(target[place].shape, dtype=target.dtype)
    if part.numel():
        receive(part.view(-1), 0)
    target[place] = part.to(target.device)


@contextmanager
def open_from_first(ranks: Ranks, path: str | Path) -> Iterator[TensorFile]:
    """Open a file that the first rank has, for all ranks; an `Opener` of them.

    Raises:
        OSError, SafetensorError: The first rank has no such file. The others learn that when it ends.
    """
    if not ranks.is_first:
        yield _FileOfFirst(ranks, None)
        return
    with open(path, "rb") as held:
        yield _FileOfFirst(ranks, f"/dev/fd/{held.fileno()}")


def _write_header(
    file: IO[bytes], tensors: Mapping[str, Tensor], shards: Mapping[str, RowShard]
) -> None:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in tensors.items():
        shape = list(tensor.shape)
        if name in shards:
            shape[0] = shards[name].rows
        stop = start + math.prod(shape) * tensor.element_size()
        entries[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": shape,
            "data_offsets": [start, stop],
        }
        start = stop
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)


def _row_blocks(weight: Tensor, shard: RowShard) -> Iterator[Tensor]:
    """Yield the numbers of a whole table's rows, block by block."""
    step = max(1, BLOCK_BYTES // (weight.shape[1] * weight.element_size()))
    for start in range(0, shard.rows, step):
        yield torch.arange(start, min(start + step, shard.rows))


def _blocks(weight: Tensor, shard: RowShard) -> Iterator[Tensor]:
    """Yield the rows of a whole table, the first rank's and what the others send."""
    for rows in _row_blocks(weight, shard):
        block = torch.zeros(len(rows), weight.shape[1], dtype=weight.dtype)
        at, slots = shard.kept(rows)
        block[at] = weight[slots].cpu()
        for number in range(1, shard.count):
            at, _ = replace(shard, number=number).kept(rows)
            part = block.new_empty(len(at), block.shape[1])
            receive(part, number)
            block[at] = part
        yield block
