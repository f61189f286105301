"""Rows of tables from the ranks that keep them, and gradients back to these.

Of each batch, all rows of all tables travel together: a message of how many, one of which, one of their
numbers; and after the backward pass one of their gradients. All are where the tables are; only the counts,
which are sizes of tensors, are looked at on the host.

With ``exchange_precision: bf16`` or ``fp16`` numbers and gradients travel in two bytes, a rank's own rows
like those of others, so that all see the same numbers of a row. What is kept and what is summed stays as
it is, and a zero is a zero in each format. Gradients travel as bf16 with both, which reaches as far as
float32: means over a batch are often below the least number of fp16.

Symbols: K tables; P ranks; N lookups of a batch; U different rows among them, without the padding; M rows
that this rank hands out; W width of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

from fuxictr_stem.distributed.messages import trade
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.layers import FieldTables
from fuxictr_stem.layers.row_gradients import RowGradients
from fuxictr_stem.layers.row_shards import Fetched
from fuxictr_stem.training.adam_step import Touched
from fuxictr_stem.training.precision import BF16, FP16, FP32

Counts = list[list[int]]  # (P, K)

# By exchange precision, the types in which rows and gradients travel; None for their own.
_ROW_TYPES = {FP32: None, BF16: torch.bfloat16, FP16: torch.float16}
_GRADIENT_TYPES = {FP32: None, BF16: torch.bfloat16, FP16: torch.bfloat16}


class _Batch(NamedTuple):
    """Which rows the ranks send to which."""

    orders: list[
        Tensor
    ]  # by table: this rank's rows, (U,), in the order of the ranks that keep them
    received: Counts  # rows that this rank gets from each rank
    slots: list[Tensor]  # by table: which rows this rank hands out, (M,), rank after rank
    sent: Counts  # rows that each rank gets from this one


class RowExchange:
    """Fetches rows, and brings their gradients back.

    Args:
        tables: The tables that are split, the same on all ranks. All ranks take part in each call.
        precision: The setting ``exchange_precision``, for the rows of a training step. An
            evaluation gets the rows as they are, which are the ones that are saved.
    """

    def __init__(self, tables: Sequence[FieldTables], precision: str) -> None:
        self.tables = list(tables)
        self._row_type = _ROW_TYPES[precision]
        self._gradient_type = _GRADIENT_TYPES[precision]
        self._batch: _Batch | None = None

    @torch.no_grad()
    def fetch(self, rows: list[Tensor]) -> None:
        """Have each table's ``fetched`` hold some of its rows, (N,), in any order and number.

        Raises:
            TrainingError: A weight is too large for the type in which rows travel.
        """
        if not rows:
            return
        ranks = distributed.get_world_size()
        unique, orders, slots, counts = [], [], [], []
        for tables, rows_N in zip(self.tables, rows, strict=True):
            assert tables.shard is not None
            # With the padding first, whether it is looked up or not.
            unique.append(torch.unique(functional.pad(rows_N, (1, 0))))
            rows_U = unique[-1][1:]
            owners_U = tables.shard.owners(rows_U)
            orders.append(torch.argsort(owners_U, stable=True))
            slots.append(tables.shard.slots(rows_U[orders[-1]]).int()[:, None])
            counts.append(torch.bincount(owners_U, minlength=ranks))
        received_PK = torch.stack(counts, dim=1)
        sent_PK = torch.empty_like(received_PK)
        each = [len(self.tables)] * ranks
        trade(sent_PK.view(-1), received_PK.view(-1), each, each)
        received, sent = torch.stack([received_PK, sent_PK]).tolist()
        mine = [part_M1[:, 0] for part_M1 in _swap(slots, received, sent)]
        self._batch = _Batch(orders, received, mine, sent)
        weights = [
            tables.table.weight[slots_M] for tables, slots_M in zip(self.tables, mine, strict=True)
        ]
        row_type = self._row_type if any(tables.training for tables in self.tables) else None
        if row_type == torch.float16:
            _check_range(weights)
        arrived = _swap(weights, sent, received, row_type)
        parts = zip(self.tables, unique, orders, arrived, strict=True)
        for tables, with_padding, order_U, weight_UW in parts:
            fetched = weight_UW.new_zeros(len(with_padding), weight_UW.shape[1])
            fetched[1 + order_U] = weight_UW
            tables.fetched = Fetched(with_padding, fetched.requires_grad_())

    @torch.no_grad()
    def bring_back(self, touched: Sequence[Touched]) -> list[Touched]:
        """Bring the gradients of the rows that were fetched last to the ranks that keep them.

        Args:
            touched: By table: rows of what was fetched, and their gradients.

        Returns:
            By table: rows of what is kept here that any rank has touched, and the sums of their gradients.
        """
        if not touched:
            return []
        batch, self._batch = self._batch, None
        assert batch is not None
        gradients = []
        for tables, order_U, rows in zip(self.tables, batch.orders, touched, strict=True):
            assert tables.fetched is not None
            whole = torch.zeros_like(tables.fetched.weight_UW)
            if rows is not None:
                whole[rows[0]] = rows[1]
            gradients.append(whole[1 + order_U])
            tables.fetched = None
        sums = []
        arrived = _swap(gradients, batch.received, batch.sent, self._gradient_type)
        parts = zip(batch.slots, arrived, strict=True)
        for slots_M, gradient_MW in parts:
            # A row that several ranks have looked up comes from each.
            of_all = RowGradients()
            of_all.add(slots_M.long(), gradient_MW)
            sums.append(of_all.take())
        return sums


def _check_range(weights: Sequence[Tensor]) -> None:
    """Reject weights that fp16 would make infinite: a ReLU may hide that from the loss."""
    limit = torch.finfo(torch.float16).max
    for weight_MW in weights:
        lowest, highest = torch.aminmax(weight_MW) if weight_MW.numel() else (0.0, 0.0)
        for number in (float(lowest), float(highest)):
            if abs(number) > limit:
                raise TrainingError(
                    f"exchange_precision: fp16 holds numbers up to {limit:,.0f}, and a table has a weight "
                    f"of {number:,.6g}. Set exchange_precision: bf16, or lower learning_rate."
                )


def _swap(
    tables: Sequence[Tensor], out: Counts, into: Counts, travel: torch.dtype | None = None
) -> list[Tensor]:
    """Send rows of each table, (U, W), to the ranks, and return those that come, in the same type.

    Args:
        tables: The rows, those to each rank together, of one type.
        out: How many go to each rank of each table, (P, K).
        into: How many come.
        travel: The type in which they travel; None for their own.
    """
    widths = [rows.shape[1] for rows in tables]
    by_table = [rows.split([of_rank[k] for of_rank in out]) for k, rows in enumerate(tables)]
    parts = [by_table[k][rank].flatten() for rank in range(len(out)) for k in range(len(tables))]
    out_PK, into_PK = np.array(out) * widths, np.array(into) * widths
    whole = torch.cat(parts)
    sent = whole if travel is None else whole.to(travel)
    received = sent.new_empty(int(into_PK.sum()))
    trade(received, sent, into_PK.sum(axis=1).tolist(), out_PK.sum(axis=1).tolist())
    pieces = received.to(whole.dtype).split(into_PK.ravel().tolist())
    return [torch.cat(pieces[k :: len(tables)]).view(-1, width) for k, width in enumerate(widths)]
