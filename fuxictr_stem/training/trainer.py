"""FuxiCTR's training loop, with progress, per-task monitors and fast evaluation."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import TrainingError
from fuxictr_stem.models.evaluation import Batches, evaluate_predictions, predict
from fuxictr_stem.progress import Progress

logger = logging.getLogger(__name__)


class Loader(Batches, Protocol):
    """Batches of a split that can be passed over again and again."""

    num_samples: int

    def __len__(self) -> int:
        """Return the number of batches of a pass."""


@dataclass
class TrainingHistory:
    """What happened: one record an evaluation, and the speed of the steps alone.

    Attributes:
        evaluations: ``epoch``, ``step``, ``train_loss`` (mean since the last evaluation),
            ``learning_rate`` and the monitored ``valid`` metrics.
        epochs: Epochs begun.
        samples: Training samples seen.
        step_seconds: Seconds spent in training steps, loading included, evaluation not.
    """

    evaluations: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0
    samples: int = 0
    step_seconds: float = 0.0

    @property
    def samples_per_second(self) -> float:
        """Training samples a second, evaluation not counted."""
        return self.samples / self.step_seconds if self.step_seconds else 0.0


class Trainer:
    """Train a FuxiCTR multi-task model, one of ours or another.

    Steps, early stopping, learning-rate decay and checkpoints are the model's own (``train_step``,
    ``checkpoint_and_earlystop``), so the losses are those of FuxiCTR's ``fit``.

    Args:
        model: The model, set up for training.
        tasks: Task type by label, in the model's order.
        max_gradient_norm: The norm to which the gradient of all parameters together is clipped.
    """

    def __init__(
        self, model: MultiTaskModel, tasks: Mapping[str, str], max_gradient_norm: float = 10.0
    ) -> None:
        self.model = model
        self.tasks = dict(tasks)
        self.max_gradient_norm = max_gradient_norm
        self.history = TrainingHistory()
        self._losses: list[float] = []  # since the last evaluation

    def fit(self, train: Loader, valid: Batches, epochs: int) -> TrainingHistory:
        """Train until the monitor stops improving or the epochs are over; load the best weights.

        Args:
            train: Training batches; each pass is an epoch.
            valid: Validation batches.
            epochs: The most epochs to train.

        Raises:
            TrainingError: If the loss is not finite.
        """
        model = self.model
        os.makedirs(os.path.dirname(model.checkpoint), exist_ok=True)
        model._max_gradient_norm = self.max_gradient_norm
        model._best_metric = np.inf if model._monitor_mode == "min" else -np.inf
        model._stopping_steps, model._stop_training = 0, False
        model._total_steps = 0
        steps_between = model._eval_steps or len(train)
        logger.info("Start training: %d batches/epoch", len(train))
        for epoch in range(epochs):
            model._epoch_index = epoch
            self.history.epochs = epoch + 1
            logger.info("************ Epoch=%d start ************", epoch + 1)
            self._train_epoch(train, valid, steps_between)
            if model._stop_training:
                break
            logger.info("************ Epoch=%d end ************", epoch + 1)
        if not self.history.evaluations:
            self._evaluate(valid)
        logger.info("Training finished. Load best model: %s", model.checkpoint)
        model.load_weights(model.checkpoint)
        return self.history

    def _train_epoch(self, train: Loader, valid: Batches, steps_between: int) -> None:
        model, title = self.model, f"Epoch {self.history.epochs}"
        model.train()
        with Progress(title, train.num_samples, enabled=model._verbose > 0) as progress:
            start = time.monotonic()
            for index, batch in enumerate(train):
                model._batch_index = index
                model._total_steps += 1
                loss = self._train_step(batch)
                self._losses.append(loss)
                samples = len(next(iter(batch.values())))
                self.history.samples += samples
                progress.update(samples, loss=loss)
                if model._total_steps % steps_between == 0:
                    self.history.step_seconds += time.monotonic() - start
                    self._evaluate(valid)
                    model.train()
                    start = time.monotonic()
                if model._stop_training:
                    break
            self.history.step_seconds += time.monotonic() - start

    def _train_step(self, batch: dict[str, Tensor]) -> float:
        model = self.model
        try:
            loss = model.train_step(batch).item()
            what = f"The training loss is {loss}"
        except RuntimeError:
            # PyTorch's binary cross entropy refuses predictions that are not numbers.
            with torch.no_grad():
                outputs = model.forward(batch)
            lost = [name for name, value in outputs.items() if not torch.isfinite(value).all()]
            if not lost:
                raise
            loss, what = math.nan, f"{' and '.join(lost)}: predictions are not finite"
        if not math.isfinite(loss):
            raise TrainingError(
                f"{what} at step {model._total_steps} (epoch {self.history.epochs}, batch "
                f"{model._batch_index + 1}). Lower learning_rate or max_gradient_norm, or look for "
                f"extreme values in the numeric features."
            )
        return loss

    def _evaluate(self, valid: Batches) -> None:
        model = self.model
        train_loss = float(np.mean(self._losses))
        self._losses.clear()
        logger.info("Train loss: %.6f", train_loss)
        logger.info(
            "Evaluation @epoch %d - batch %d:", model._epoch_index + 1, model._batch_index + 1
        )
        names = model._monitor.get_metrics()
        logs = evaluate_predictions(self.tasks, predict(model, valid, "Validate"), names)
        self.history.evaluations.append(
            {
                "epoch": self.history.epochs,
                "step": model._total_steps,
                "train_loss": train_loss,
                "learning_rate": model.optimizer.param_groups[0]["lr"],
                "valid": logs,
            }
        )
        model.checkpoint_and_earlystop(logs)
