"""Losses, predictions and gradients that are not finite: found before the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import TrainingError


class _NotFinite(Exception):
    """A batch gives a loss that is not finite; the text names the task."""


@contextmanager
def finite_losses(model: MultiTaskModel) -> Iterator[None]:
    """Have a model's steps stop, in our training loop or FuxiCTR's, before they do harm.

    A model looks at what it predicts and loses before it goes on to gradients. One whose steps change
    nothing where the loss is not finite need not: on a CUDA device that would wait.

    Raises:
        TrainingError: From within the model's ``train_step``; names the step, the batch and the task.
    """
    compute_loss, train_step = model.compute_loss, model.train_step

    def checked(return_dict: dict[str, Tensor], y_true: list[Tensor]) -> Tensor:
        # A cross entropy raises an error of its own where a prediction is not a number.
        _check_predictions(return_dict)
        loss: Tensor = compute_loss(return_dict, y_true)
        if not torch.isfinite(loss):
            raise _NotFinite(_losing(model, return_dict, y_true))
        return loss

    def step(batch: dict[str, Tensor]) -> Tensor:
        try:
            loss: Tensor = train_step(batch)
            if not torch.isfinite(loss):
                raise _NotFinite(_explain(model, batch))
        except _NotFinite as error:
            raise TrainingError(
                f"Training stopped before step {model._total_steps:,} (epoch {model._epoch_index + 1}, "
                f"batch {model._batch_index + 1:,}): {error}. Lower learning_rate or "
                f"max_gradient_norm, or look for extreme values in the numeric features and labels."
            ) from error
        return loss

    model.train_step = step
    if not getattr(model, "skips_lost_steps", False):
        model.compute_loss = checked
    try:
        yield
    finally:
        del model.train_step
        vars(model).pop("compute_loss", None)


def _explain(model: MultiTaskModel, batch: dict[str, Tensor]) -> str:
    """Say which task's predictions, loss or gradient of a batch are not finite."""
    return_dict, y_true = model.forward(batch), model.get_labels(batch)
    try:
        _check_predictions(return_dict)
        loss = model.compute_loss(return_dict, y_true)
    except _NotFinite as error:
        return str(error)
    if torch.isfinite(loss):
        return _exploding(model, return_dict, y_true)
    return _losing(model, return_dict, y_true)


def _check_predictions(return_dict: Mapping[str, Tensor]) -> None:
    lost = {
        name.removesuffix("_pred"): int((~torch.isfinite(y_pred)).sum())
        for name, y_pred in return_dict.items()
        if name.endswith("_pred") and not torch.isfinite(y_pred).all()
    }
    if lost:
        tasks = " and ".join(f"task {label!r} in {rows:,} rows" for label, rows in lost.items())
        raise _NotFinite(f"predictions are not finite: {tasks}")


@torch.no_grad()
def _losing(model: MultiTaskModel, return_dict: Mapping[str, Tensor], y_true: list[Tensor]) -> str:
    """Say which task's loss is not finite; without one, it is the penalties or the sum."""
    losses = _losses(model, return_dict, y_true)
    lost = [f"task {label!r}, {loss.item()}" for label, loss in losses if not torch.isfinite(loss)]
    return f"the loss is not finite: {' and '.join(lost) or 'by its penalties or weights'}"


def _exploding(
    model: MultiTaskModel, return_dict: Mapping[str, Tensor], y_true: list[Tensor]
) -> str:
    """Say which task's gradient is not finite."""
    # Without large tables: their dense gradients may not fit beside them.
    small = [p for p in model.parameters() if p.requires_grad and p.numel() <= 2**24]
    lost = []
    for label, loss in _losses(model, return_dict, y_true):
        found = torch.autograd.grad(loss, small, retain_graph=True, allow_unused=True)
        norm = torch.stack([g.norm() for g in found if g is not None]).norm()
        if not torch.isfinite(norm):
            lost.append(f"task {label!r}")
    return (
        f"the gradient is not finite or beyond float32: {' and '.join(lost) or 'by the penalties'}"
    )


def _losses(
    model: MultiTaskModel, return_dict: Mapping[str, Tensor], y_true: list[Tensor]
) -> list[tuple[str, Tensor]]:
    if hasattr(model, "task_losses"):
        return list(zip(model.tasks, model.task_losses(return_dict, y_true), strict=True))
    return [
        (label, loss(return_dict[f"{label}_pred"], y, reduction="mean"))
        for label, loss, y in zip(model.feature_map.labels, model.loss_fn, y_true, strict=True)
    ]
