"""Rows of a table as an export stores them, made float32 after they are read.

Symbols: V rows, W width of a row, K tables next to each other in a row, N rows that are read.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from fuxictr_stem.errors import ConfigError

STORED_AS = FLOAT32, FLOAT16, INT8 = ("float32", "float16", "int8")

_LARGEST_INT8 = 127
_BLOCK_NUMBERS = 1 << 24


class StoredRows(nn.Module):
    """A table, (V, W), stored in fewer bytes; reading gives float32 and never touches the whole of it.

    - ``float32`` shares the weights' memory;
    - ``float16`` rounds each number; one that is too large for it is a ConfigError;
    - ``int8`` has a scale for each row of each of the K tables: the largest number of the row / 127.
    """

    scale: Tensor | None

    def __init__(self, weight: Tensor, num_tables: int, stored_as: str) -> None:
        super().__init__()
        weight, scale = weight.detach(), None
        self._original = [weight]  # in a list: it is no part of the module
        self.num_tables = num_tables
        if stored_as == FLOAT16:
            stored = torch.empty_like(weight, dtype=torch.float16)
            for rows in _blocks(weight):
                stored[rows] = weight[rows]
                if not stored[rows].isfinite().all():
                    raise ConfigError(
                        f"--tables float16: a table holds {weight[rows].abs().max():.3g}, which float16 "
                        f"cannot. Use --tables int8 or float32."
                    )
        elif stored_as == INT8:
            stored = torch.empty_like(weight, dtype=torch.int8)
            scale = weight.new_empty(len(weight), num_tables, 1)
            for rows in _blocks(weight):
                parts = weight[rows].unflatten(1, (num_tables, -1))
                scale[rows] = parts.abs().amax(dim=2, keepdim=True) / _LARGEST_INT8
                whole = (parts / scale[rows].where(scale[rows] > 0, 1)).round()
                stored[rows] = whole.clamp(-_LARGEST_INT8, _LARGEST_INT8).flatten(1)
        else:
            stored = weight
        self.register_buffer("weight", stored)
        self.register_buffer("scale", scale)

    @property
    def original(self) -> Tensor:
        """The weights that the table was made of."""
        return self._original[0]

    @property
    def stored_bytes(self) -> int:
        """The bytes of the table as it is stored."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.buffers())

    def forward(self, rows: Tensor) -> Tensor:
        """Read rows: (...) to (..., W), float32."""
        values = functional.embedding(rows, self.get_buffer("weight")).float()
        if self.scale is None:
            return values
        parts = values.unflatten(-1, (self.num_tables, -1))
        return (parts * functional.embedding(rows, self.scale.flatten(1))[..., None]).flatten(-2)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Read rows, as a plain tensor of them is read."""
        return self(rows)

    def round_original(self) -> None:
        """Overwrite the weights that the table was made of with what reading gives."""
        for rows in _blocks(self.original):
            self.original[rows] = self(torch.arange(rows.start, rows.stop))


def _blocks(weight: Tensor) -> Iterator[slice]:
    """Yield the rows of a table, some at a time."""
    step = max(1, _BLOCK_NUMBERS // max(1, weight.shape[1]))
    for start in range(0, len(weight), step):
        yield slice(start, min(start + step, len(weight)))
