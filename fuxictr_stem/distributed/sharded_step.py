"""The step of `training.adam_step` on a part of a batch, with a part of every table.

Each rank's loss is what its rows add to the means over the whole batch, so that gradients are sums over
ranks: of tables by `row_exchange`, of all else by one flat message. One small message then carries what
decides the step: loss and norms. From there on every rank does the same to what all have, and its part to
what it alone has.

Symbols: T tasks; K tables.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from fuxictr_stem.distributed.messages import add_up
from fuxictr_stem.distributed.row_exchange import RowExchange
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.training.adam_step import AdamStep, Touched
from fuxictr_stem.training.ranks import BatchShare
from fuxictr_stem.training.task_loss import sample_weights


class ShardedStep(AdamStep):
    """Takes the steps of an `AdamStep`, with the other ranks, over which its model's tables are split."""

    model: MultiTaskNet

    def __init__(self, step: AdamStep, model: MultiTaskNet, exchange: RowExchange) -> None:
        learning_rate = step.optimizer.param_groups[0]["lr"]
        super().__init__(model, step.penalty, learning_rate, step.row_sparse)
        self.exchange = exchange
        self._is_first = distributed.get_rank() == 0
        # Of the step that runs: each table's squared norm and penalty, of all ranks.
        self._norms: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: dict[str, Tensor], max_norm: float) -> Tensor:
        """Take a step, as `AdamStep` does; ``batch`` is this rank's part, which may have no row."""
        model = self.model
        self.optimizer.zero_grad()
        share = model.batch_share = self._share(batch)
        nothing_T = torch.zeros_like(share.weights_T)
        # A new epoch begins for the tasks' weights before they are used.
        model.note_losses(nothing_T, nothing_T)
        try:
            loss, touched = self._backward(batch)
        finally:
            model.batch_share = None
        with torch.no_grad():
            touched = self.exchange.bring_back(touched)
            add_up_all([p.grad for p in self.others if p.grad is not None])
            assert share.losses_T is not None
            loss, losses_T = self._totals(loss, share.losses_T, touched)
            model.note_losses(losses_T, share.weights_T)
            return loss + self._update(loss, touched, max_norm)

    def _share(self, batch: dict[str, Tensor]) -> BatchShare:
        y_true = self.model.get_labels(batch)
        weight = y_true.weight
        rows = y_true[0].new_full((), len(y_true[0])) if weight is None else weight.sum()
        # Whole numbers are exact.
        totals = torch.cat([sample_weights(y_true), rows[None]]).double()
        add_up(totals)
        totals = totals.to(y_true[0].dtype)
        return BatchShare(totals[:-1], totals[-1], self._is_first, add_up_all)

    def _totals(
        self, loss: Tensor, losses_T: Tensor, touched: list[Touched]
    ) -> tuple[Tensor, Tensor]:
        """Sum what the ranks' parts add up to: return the loss and those of the tasks; keep the norms."""
        pairs = zip(self.weights, touched, strict=True)
        norms = [super(ShardedStep, self)._squared_norm(weight, rows) for weight, rows in pairs]
        figures = torch.stack([loss, *losses_T, *(figure for pair in norms for figure in pair)])
        # What is too large for float32 is inf before and after.
        sums = figures.double()
        add_up(sums)
        loss, *rest = sums.to(loss.dtype)
        count = len(losses_T)
        of_tables = zip(self.weights, rest[count::2], rest[count + 1 :: 2], strict=True)
        self._norms = {id(weight): (squared, penalty) for weight, squared, penalty in of_tables}
        return loss, torch.stack(rest[:count])

    def _squared_norm(self, weight: Tensor, touched: Touched) -> tuple[Tensor, Tensor]:
        return self._norms[id(weight)]


def add_up_all(tensors: list[Tensor]) -> None:
    """Replace tensors by their sums over the ranks, in one message."""
    if tensors:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        add_up(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, of_all in zip(tensors, sums, strict=True):
            tensor.copy_(of_all.view_as(tensor))
