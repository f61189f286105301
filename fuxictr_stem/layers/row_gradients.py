"""The gradient of a table as the rows that a batch has touched, and nothing of the others.

Symbols: N lookups of a batch, U different rows among them, W width of a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fuxictr_stem.layers import device


class RowGradients:
    """Takes what a backward pass brings to the rows of a table."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._values: list[Tensor] = []

    def add(self, rows_N: Tensor, values_NW: Tensor) -> None:
        """Take the gradients of a lookup's rows, a row as often as it was looked up."""
        self._rows.append(rows_N)
        self._values.append(values_NW)

    def take(self) -> tuple[Tensor, Tensor] | None:
        """Return the touched rows, (U,), and the sums of their gradients, (U, W); None for none.

        Row 0, the padding, is never among them. On a device, U is N whatever the rows: those over and
        above the touched ones are row 0 with sums of 0. What was taken is gone.
        """
        if not self._rows:
            return None
        rows_N, values_NW = torch.cat(self._rows), torch.cat(self._values)
        self._rows.clear()
        self._values.clear()
        if not device.on_host(rows_N):
            return _in_fixed_shapes(rows_N, values_NW)
        rows_U, inverse_N = torch.unique(rows_N, return_inverse=True)
        sums_UW = _sums(values_NW, inverse_N, len(rows_U))
        if len(rows_U) and int(rows_U[0]) == 0:
            rows_U, sums_UW = rows_U[1:], sums_UW[1:]
        return rows_U, sums_UW


def _in_fixed_shapes(rows_N: Tensor, values_NW: Tensor) -> tuple[Tensor, Tensor]:
    sorted_N, order_N = torch.sort(rows_N)
    is_next_N = torch.ones_like(sorted_N)
    is_next_N[1:] = sorted_N[1:] != sorted_N[:-1]
    slot_N = is_next_N.cumsum(0) - 1
    inverse_N = torch.empty_like(slot_N).scatter_(0, order_N, slot_N)
    rows_U = torch.zeros_like(rows_N).scatter_(0, slot_N, sorted_N)
    return rows_U, _sums(values_NW, inverse_N, len(rows_N)) * (rows_U != 0)[:, None]


def _sums(values_NW: Tensor, slot_N: Tensor, slots: int) -> Tensor:
    """Return the sum of each slot's values: what the backward of an embedding takes, in fixed order."""
    return torch.ops.aten.embedding_dense_backward(values_NW, slot_N, slots, -1, False)


class _Lookup(torch.autograd.Function):
    """An embedding lookup whose gradient goes to a `RowGradients`, not to the table's ``grad``."""

    @staticmethod
    def forward(ctx: Any, weight_VW: Tensor, rows: Tensor, gradients: RowGradients) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.gradients = gradients
        return functional.embedding(rows, weight_VW)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        (rows,) = ctx.saved_tensors
        ctx.gradients.add(rows.flatten(), grads[0].reshape(rows.numel(), grads[0].shape[-1]))
        return None, None, None


def look_up(weight_VW: Tensor, rows: Tensor, gradients: RowGradients) -> Tensor:
    """Look rows up, (...) to (..., W), their gradient to be taken from ``gradients``."""
    return _Lookup.apply(weight_VW, rows, gradients)
