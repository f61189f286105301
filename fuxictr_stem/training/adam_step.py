"""FuxiCTR's training step for Adam, with fewer passes over the embedding tables.

FuxiCTR adds ``lambda/2 |w|^2`` of every table to the loss, so that every row has a gradient at every
step; it clips the gradient of all parameters together and steps with Adam. Here a table's gradient is
kept as the rows that the batch has touched; the penalty's part of it, ``lambda w``, is Adam's own weight
decay. Clipping scales that part, too: with ``g`` the gradient without penalty and

    norm^2 = |g|^2 + 2 lambda <g, w> + lambda^2 |w|^2,    c = min(1, max_norm / (norm + 1e-6))

a step has the gradients ``c g`` and the weight decay ``c lambda``; ``<g, w>`` needs touched rows only.

On a CUDA device the step has fixed shapes and never waits for a number, so that it can be one CUDA graph;
there the penalty's part is written into the dense gradient, and ``c`` stays on the device.

Where the norm is not finite, a step changes nothing and its loss is inf: clipping would make a gradient of
zeros or of NaN from it, and the run would continue without learning, or without weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from fuxictr.pytorch.torch_utils import get_regularizer
from torch import Tensor, nn

from fuxictr_stem.errors import Problem
from fuxictr_stem.layers import FieldTables, device
from fuxictr_stem.layers.row_gradients import RowGradients

Touched = tuple[Tensor, Tensor] | None


class StepModel(Protocol):
    """What a step needs of a model, such as `MultiTaskNet`."""

    device: torch.device
    embedding_layer: Any

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters."""

    def backward(self, batch_data: dict[str, Tensor]) -> Tensor:
        """Add a batch's gradients to the parameters, without the tables' penalty; return its loss."""


class AdamStep:
    """Training steps of a model whose tables have an L2 penalty or none.

    With ``row_sparse``, a step changes only the rows that the batch has touched. Rows then wait for their
    next visit instead of decaying towards zero: another regulariser, and another model. The state of
    ``optimizer``, an Adam on all parameters, holds all that a step depends on.
    """

    def __init__(
        self, model: StepModel, penalty: float, learning_rate: float, row_sparse: bool
    ) -> None:
        self.model, self.penalty, self.row_sparse = model, penalty, row_sparse
        modules = (m for m in model.embedding_layer.modules() if isinstance(m, FieldTables))
        self.tables = [tables for tables in modules if tables.table.weight.requires_grad]
        self.weights = [tables.table.weight for tables in self.tables]
        of_tables = {id(weight) for weight in self.weights}
        self.others = [p for p in model.parameters() if id(p) not in of_tables]
        groups = [{"params": params} for params in (self.others, self.weights) if params]
        self.optimizer = torch.optim.Adam(
            groups, lr=learning_rate, fused=True, capturable=model.device.type == "cuda"
        )
        # Dense gradients of the tables, zero except for the rows of the step that runs.
        self._buffers: list[Tensor] = []
        # Whether a step was lost; None where the steps after it are taken.
        self._held: Tensor | None = None
        # Where each step writes its gradient's norm, or None.
        self._norm: Tensor | None = None

    def watch_norm(self, norm: Tensor) -> None:
        """Have each step write the norm of its gradient, penalties included, before it is clipped."""
        self._norm = norm

    def hold_after_lost_step(self, on: bool) -> None:
        """Have steps after a lost one change nothing either, or, with False, take them."""
        self._held = torch.zeros((), dtype=torch.bool, device=self.model.device) if on else None

    def __call__(self, batch: dict[str, Tensor], max_norm: float) -> Tensor:
        """Take a step on a batch, its gradient of all parameters together clipped to a norm.

        Returns the loss with its penalties before the step, inf where the gradient is not finite; with
        ``row_sparse``, the tables' penalty is that of the rows of the batch.
        """
        self.optimizer.zero_grad()
        loss, touched = self._backward(batch)
        with torch.no_grad():
            return loss.detach() + self._update(loss, touched, max_norm)

    def _backward(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Touched]]:
        """Return a batch's loss, and what its gradient is in each table; all else has a ``grad``."""
        kept = [RowGradients() for _ in self.tables]
        for tables, gradients in zip(self.tables, kept, strict=True):
            tables.row_gradients = gradients
        try:
            loss = self.model.backward(batch)
        finally:
            for tables in self.tables:
                tables.row_gradients = None
        return loss, [gradients.take() for gradients in kept]

    def _update(self, loss: Tensor, touched: list[Touched], max_norm: float) -> Tensor:
        """Clip, step, and return the penalty of the tables; inf, and no step, if the norm is not finite."""
        dense = [p.grad for p in self.others if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(dense)) if dense else loss.new_zeros(1)
        squared, penalty = norms.square().sum(), norms.new_zeros(())
        for weight, rows in zip(self.weights, touched, strict=True):
            table_squared, table_penalty = self._squared_norm(weight, rows)
            squared, penalty = squared + table_squared, penalty + table_penalty
        norm = squared.clamp(min=0).sqrt()
        if self._norm is not None:
            self._norm.copy_(norm)
        scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        lost = ~torch.isfinite(loss + squared)
        if self._held is not None:
            lost = self._held.logical_or_(lost)
        penalty = penalty.masked_fill(lost, torch.inf)
        on_host = device.on_host(scale)
        if not on_host:
            # Fused Adam's own way to skip a step.
            self.optimizer.found_inf = lost.to(torch.float32)  # type: ignore[attr-defined]
        elif lost:
            return penalty
        if not on_host or scale < 1:
            if dense:
                torch._foreach_mul_(dense, scale)
            touched = [None if rows is None else (rows[0], rows[1] * scale) for rows in touched]
        if self.row_sparse:
            self.optimizer.step()
            for weight, rows in zip(self.weights, touched, strict=True):
                if rows is not None:
                    self._step_rows(weight, *rows, scale * self.penalty)
        elif on_host:
            self._step_tables(touched, float(scale) * self.penalty)
        else:
            self._step_tables_on_device(touched, scale * self.penalty)
        return penalty

    def _squared_norm(self, weight: Tensor, touched: Touched) -> tuple[Tensor, Tensor]:
        """Return the squared norm of a table's gradient with penalty, and the penalty."""
        squared = zero = weight.new_zeros(())
        rows = None
        if touched is not None:
            rows_U, values_UW = touched
            rows = weight[rows_U]
            squared = values_UW.square().sum() + 2 * self.penalty * (values_UW * rows).sum()
        penalised = rows if self.row_sparse else weight
        if not self.penalty or penalised is None:
            return squared, zero
        amount = torch.linalg.vector_norm(penalised).square()
        return squared + self.penalty**2 * amount, self.penalty / 2 * amount

    def _with_buffers(self, touched: list[Touched]) -> Iterator[tuple[Tensor, Tensor, Touched]]:
        if not self._buffers:
            self._buffers = [torch.zeros_like(weight) for weight in self.weights]
        return zip(self.weights, self._buffers, touched, strict=True)

    def _step_tables(self, touched: list[Touched], decay: float) -> None:
        for weight, buffer, rows in self._with_buffers(touched):
            if rows is not None:
                buffer.index_copy_(0, *rows)
            weight.grad = buffer
        if self.weights:
            self.optimizer.param_groups[-1]["weight_decay"] = decay
        self.optimizer.step()
        for weight, buffer, rows in self._with_buffers(touched):
            weight.grad = None
            if rows is not None:
                buffer.index_fill_(0, rows[0], 0)

    def _step_tables_on_device(self, touched: list[Touched], decay: Tensor) -> None:
        for weight, buffer, rows in self._with_buffers(touched):
            torch.mul(weight, decay, out=buffer)
            if rows is not None:
                buffer.index_add_(0, *rows)
            weight.grad = buffer
        self.optimizer.step()
        for weight in self.weights:
            weight.grad = None

    def _step_rows(self, weight: Tensor, rows_U: Tensor, values_UW: Tensor, decay: Tensor) -> None:
        """Take Adam's step for some rows of a table; bias is corrected by the steps of all."""
        group = self.optimizer.param_groups[-1]
        (beta_1, beta_2), eps = group["betas"], group["eps"]
        state = self.optimizer.state[weight]
        if not state:
            state["step"] = weight.new_zeros(())
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        lost = getattr(self.optimizer, "found_inf", None)
        state["step"] += 1 if lost is None else 1 - lost
        # In double precision, as Adam's own: 1 - 0.999 loses five digits of a float.
        step = state["step"].double()
        old_UW, first_UW, second_UW = (
            whole[rows_U] for whole in (weight, state["exp_avg"], state["exp_avg_sq"])
        )
        gradient_UW = torch.addcmul(values_UW, old_UW, decay)
        new_first_UW = torch.lerp(first_UW, gradient_UW, 1 - beta_1)
        new_second_UW = torch.mul(second_UW, beta_2)
        new_second_UW.addcmul_(gradient_UW, gradient_UW, value=1 - beta_2)
        below_UW = new_second_UW.sqrt().div_((1 - beta_2**step).sqrt()).add_(eps)
        size = group["lr"] / (1 - beta_1**step)
        new_UW = old_UW - (new_first_UW / below_UW).mul_(size)
        for whole, old, new in (
            (weight, old_UW, new_UW),
            (state["exp_avg"], first_UW, new_first_UW),
            (state["exp_avg_sq"], second_UW, new_second_UW),
        ):
            whole.index_copy_(0, rows_U, new if lost is None else torch.where(lost > 0, old, new))


def l2_penalty(regularizer: float | str | None) -> float | None:
    """Return the lambda of an L2 penalty in FuxiCTR's notation, 0 for none, None for another penalty."""
    pairs = get_regularizer(regularizer or None)
    return sum(amount for _, amount in pairs) if all(norm == 2 for norm, _ in pairs) else None


def row_sparse_problems(
    row_sparse: bool, optimizer: str, regularizer: float | str | None
) -> Iterator[Problem]:
    """Yield why steps cannot change only a batch's rows: another optimizer, or an L1 penalty."""
    if row_sparse and (optimizer.lower() != "adam" or l2_penalty(regularizer) is None):
        rule = "needs optimizer adam and an embedding_regularizer that is L2 or null"
        text = f"{rule}, found {optimizer} and {regularizer}."
        yield Problem("row_sparse", text, "Change these, or set row_sparse: False.")
