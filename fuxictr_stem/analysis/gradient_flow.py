"""Gradient flow: which task's loss reaches which table, expert, gate and tower, measured.

Symbols: T tasks, P parts of the model, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.analysis.model_parts import Part, model_parts
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.training.task_loss import model_labels, task_losses

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class GradientFlow:
    """How strongly each task's loss pulls at each part of a model."""

    labels: list[str]  # the tasks, T
    parts: list[str]  # names of the parts in reading order, P
    # (T, P) float64, the Euclidean norm of the gradient of one task's mean loss alone with
    # respect to a part's parameters. What the loss cannot reach is exactly 0.
    norms: np.ndarray

    def table(self) -> str:
        """Return the matrix as text, one line per part and one column per task; an exact zero is ``0``."""
        rows = [["", *self.labels]]
        for part, norms in zip(self.parts, self.norms.T, strict=True):
            rows.append([part, *(f"{norm:.2e}" if norm else "0" for norm in norms)])
        return text_table(rows)

    __str__ = table


def gradient_flow(model: MultiTaskModel, batch: Batch) -> GradientFlow:
    """Measure which task's loss reaches which part of any of FuxiCTR's multi-task models.

    Each task's mean loss over the batch is differentiated by itself, without regularisers and loss
    weights, in evaluation mode. Mode, weights, gradients and random state stay as they are.
    """
    parts = model_parts(model)
    norms = gradient_norms(model, batch, parts)
    return GradientFlow(model_labels(model), [part.name for part in parts], norms)


def gradient_norms(model: MultiTaskModel, batch: Batch, parts: Sequence[Part]) -> np.ndarray:
    """Return the norms of `GradientFlow` for some parts, (T, P)."""
    parameters = list(dict.fromkeys(piece[0] for part in parts for piece in part.pieces))
    with undisturbed(model):
        losses = task_losses(model, model(batch), model.get_labels(batch))
        norms = np.zeros((len(losses), len(parts)))
        for task, loss in enumerate(losses):
            if not loss.requires_grad:
                continue
            grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            reached = {p: g for p, g in zip(parameters, grads, strict=True) if g is not None}
            for place, part in enumerate(parts):
                squares = (piece.double().square().sum().item() for piece in part.take(reached))
                norms[task, place] = sum(squares) ** 0.5
    return norms


@contextmanager
def undisturbed(model: MultiTaskModel) -> Iterator[None]:
    """Evaluation mode with gradients on; each module's mode and the random state come back."""
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
