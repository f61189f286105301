"""Losses, predictions and gradients that are not finite: found before the optimizer's step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import TrainingError
from fuxictr_stem.training.task_loss import model_labels, task_losses
from fuxictr_stem.training.weights import shards_of

LOOK_TOGETHER = 16
"""Steps on a CUDA device between two looks at their losses; as many batches are kept there."""


class _NotFinite(Exception):
    """A batch gives a loss that is not finite; the text names the task."""


class _Step(NamedTuple):
    """A step whose loss has not been looked at."""

    place: tuple[int, int, int]  # its number in the training, from 1; its epoch and batch, from 0
    batch: dict[str, Tensor]
    loss: Tensor  # on the model's device


class LossWatch:
    """Takes a model's steps and looks at their losses, so many ``together``."""

    def __init__(self, model: MultiTaskModel, together: int) -> None:
        self._model, self._together = model, together
        self._train_step = model.train_step
        self._waiting: list[_Step] = []
        self._losses: list[float] = []

    def step(self, batch: dict[str, Tensor]) -> Tensor:
        """Take a step, as the model's ``train_step`` does; TrainingError as of `look`."""
        model = self._model
        place = model._total_steps, model._epoch_index, model._batch_index
        try:
            loss: Tensor = self._train_step(batch)
        except _NotFinite as error:
            raise _stopped(place, str(error)) from error
        self._waiting.append(_Step(place, batch, loss.detach()))
        if len(self._waiting) >= self._together:
            self.look()
        return loss

    def look(self) -> None:
        """Look at the losses of all steps so far, waiting for the device once, and reject lost ones."""
        waiting, self._waiting = self._waiting, []
        losses = torch.stack([step.loss for step in waiting]).tolist() if waiting else []
        for step, loss in zip(waiting, losses, strict=True):
            if not math.isfinite(loss):
                raise _stopped(step.place, _reason(self._model, step.batch))
        self._losses += losses

    def take(self) -> list[float]:
        """Return the losses that were looked at since the last call, oldest first."""
        losses, self._losses = self._losses, []
        return losses


@contextmanager
def finite_losses(model: MultiTaskModel, together: int = 1) -> Iterator[LossWatch]:
    """Have a model's steps stop, in our training loop or FuxiCTR's, before they do harm.

    A model looks at what it predicts and loses before it goes on to gradients. One whose steps change
    nothing where the loss is not finite need not, since on a CUDA device that would wait: its losses are
    looked at after ``together`` steps, and from the first one that is not finite on, no step changes a
    weight. Who saves or evaluates it in between must `LossWatch.look` before. A TrainingError from within
    ``train_step`` names the step, the batch and the task.
    """
    skips = getattr(model, "skips_lost_steps", False)
    watch = LossWatch(model, together if skips else 1)
    compute_loss = model.compute_loss

    def checked(return_dict: dict[str, Tensor], y_true: list[Tensor]) -> Tensor:
        # A cross entropy raises an error of its own where a prediction is not a number.
        _check_predictions(return_dict)
        loss: Tensor = compute_loss(return_dict, y_true)
        _check_loss(model, loss, return_dict, y_true)
        return loss

    model.train_step = watch.step
    if skips:
        model.hold_after_lost_step(True)
    else:
        model.compute_loss = checked
    try:
        yield watch
    finally:
        del model.train_step
        vars(model).pop("compute_loss", None)
        if skips:
            model.hold_after_lost_step(False)


def _stopped(place: tuple[int, int, int], reason: str) -> TrainingError:
    number, epoch, index = place
    return TrainingError(
        f"Training stopped before step {number:,} (epoch {epoch + 1}, batch {index + 1:,}): {reason}. "
        f"Lower learning_rate or max_gradient_norm, or look for extreme values in the numeric features "
        f"and labels."
    )


def _reason(model: MultiTaskModel, batch: dict[str, Tensor]) -> str:
    """Say which task's predictions, loss or gradient of a batch are not finite."""
    return_dict, y_true = model.forward(batch), model.get_labels(batch)
    try:
        _check_predictions(return_dict)
        _check_loss(model, model.compute_loss(return_dict, y_true), return_dict, y_true)
    except _NotFinite as error:
        return str(error)
    # Without large tables: their dense gradients may not fit into memory as well.
    small = [p for p in model.parameters() if p.requires_grad and p.numel() <= 2**24]
    lost = []
    losses = task_losses(model, return_dict, y_true)
    for label, loss in zip(model_labels(model), losses, strict=True):
        gradients = torch.autograd.grad(loss, small, retain_graph=True, allow_unused=True)
        norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        if not torch.isfinite(norm):
            lost.append(f"task {label!r}")
    # The rows of other ranks have a part in it where several split the tables.
    elsewhere = " or the rows of another rank" if shards_of(model) else ""
    where = " and ".join(lost) or f"by the penalties{elsewhere}"
    return f"the gradient is not finite or beyond float32: {where}"


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
def _check_loss(
    model: MultiTaskModel, loss: Tensor, return_dict: Mapping[str, Tensor], y_true: list[Tensor]
) -> None:
    """Say which task's loss is not finite; without one, it is the penalties or the sum."""
    if not torch.isfinite(loss):
        losses = zip(model_labels(model), task_losses(model, return_dict, y_true), strict=True)
        lost = [f"task {label!r}, {x.item()}" for label, x in losses if not torch.isfinite(x)]
        text = " and ".join(lost) or "by its penalties or weights"
        raise _NotFinite(f"the loss is not finite: {text}")
