"""FuxiCTR's training loop, with progress, per-task monitors, fast evaluation and states to resume from."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel
from safetensors import SafetensorError

from fuxictr_stem.errors import OutputError, Stopped
from fuxictr_stem.runtime.outputs import remove_file
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.runtime.signals import StopRequest, stop_requests, stop_signals
from fuxictr_stem.training.evaluation import Batches, evaluate_predictions, predict
from fuxictr_stem.training.loss_sums import LossSums, TaskLosses, warn_of_first_losses
from fuxictr_stem.training.nan_guard import LOOK_TOGETHER, LossWatch, finite_losses
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.saving import Position, Saving
from fuxictr_stem.training.trackers import tracking as trackers
from fuxictr_stem.training.trackers.tracking import Tracking

logger = logging.getLogger(__name__)

MAX_GRADIENT_NORM = 10.0
"""The norm to which gradients are clipped, unless a config says otherwise; FuxiCTR's."""
OnEvaluation = Callable[[list[dict[str, Any]]], None]


class Loader(Batches, Position, Protocol):
    """Batches of a split that can be passed over again and again, and that know where they are."""

    num_samples: int

    def __len__(self) -> int:
        """Return the number of batches of a pass."""

    def rows_in(self, batch: int) -> int:
        """Return the rows of a batch of all processes that share it."""


@dataclass
class TrainingHistory:
    """What happened: one record per evaluation, and the speed of the steps alone."""

    # ``epoch``, ``step``, ``train_loss`` (mean over the steps since the last evaluation), ``train_losses``
    # (by label, the task's mean over its samples since then, without weights and penalties; of our models
    # only), ``learning_rate`` and the monitored ``valid`` metrics.
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 0  # begun
    samples: int = 0
    step_seconds: float = 0.0  # in training steps, loading included, evaluation not
    seconds: float = 0.0  # of all, those before a resumption included

    @property
    def samples_per_second(self) -> float:
        """Training samples per second, evaluation not counted."""
        return self.samples / self.step_seconds if self.step_seconds else 0.0


class Trainer:
    """Train a FuxiCTR multi-task model, one of ours or another.

    Steps, early stopping, learning-rate decay and checkpoints are the model's own (``train_step``,
    ``checkpoint_and_earlystop``), so the losses are those of FuxiCTR's ``fit``. Where there are other
    ranks, each takes the same steps on its part of the batches. ``on_evaluation`` is called after each
    evaluation with the records of all so far, see `TrainingHistory`.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Mapping[str, str],
        max_gradient_norm: float = MAX_GRADIENT_NORM,
        ranks: Ranks | None = None,
        tracking: Tracking | None = None,
        on_evaluation: OnEvaluation | None = None,
    ) -> None:
        self.model = model
        self.tasks = dict(tasks)
        self.max_gradient_norm = max_gradient_norm
        self._ranks = ranks or Ranks()
        self._tracking = tracking or None
        self._on_evaluation = on_evaluation
        self.history = TrainingHistory()
        self._losses: list[float] = []  # since the last evaluation
        self._evaluation_due = False
        # Models that are not ours have none.
        self._sums = model.loss_sums if isinstance(model, TaskLosses) else LossSums(0)
        self._first_losses_seen = not isinstance(model, TaskLosses)
        self._began = 0.0
        self._train: Loader
        self._valid: Batches
        self._saving: Saving | None = None
        self._request: StopRequest
        self._watch: LossWatch

    def fit(
        self, train: Loader, valid: Batches, epochs: int, saving: Saving | None = None
    ) -> TrainingHistory:
        """Train until the monitor stops improving or the epochs are over; load the best weights.

        The model's checkpoint holds the best weights, whatever its ``save_best_only``: FuxiCTR would
        replace them by each evaluation's and call the last ones best. False writes the weights of the
        end next to them, as ``model_last``.

        Args:
            train: Training batches; each pass is an epoch.
            valid: Validation batches.
            epochs: The most epochs to train.
            saving: Saves states, and resumes from one if asked to; None saves nothing.

        Raises:
            TrainingError: If a loss, prediction or gradient is not finite.
            ConfigError: If the saved state is of other settings.
            OutputError: If weights cannot be written.
            Stopped: By Ctrl-C, SIGTERM or SIGHUP, with ``saving``; the state is saved.
        """
        model = self.model
        self._train, self._valid, self._saving = train, valid, saving
        if self._ranks.is_first:
            os.makedirs(os.path.dirname(model.checkpoint), exist_ok=True)
        model._max_gradient_norm = self.max_gradient_norm
        model._best_metric = np.inf if model._monitor_mode == "min" else -np.inf
        model._stopping_steps, model._stop_training = 0, False
        model._total_steps = model._epoch_index = model._batch_index = 0
        self._sums.reset()
        logger.info("Start training: %d batches per epoch", len(train))
        self._began = time.monotonic()
        self._last_step = epochs * len(train)
        finished = self._resume()
        with (
            stop_requests(saving is not None, self._ranks.count > 1) as self._request,
            finite_losses(model, LOOK_TOGETHER) as self._watch,
        ):
            if not finished:
                self._run(epochs)
            self._heed_signals()
            if self._request.signal is not None:
                self._stop(finished=True)
        model.load_weights(model.checkpoint)
        return self.history

    def _resume(self) -> bool:
        """Continue from a saved state, if there is one to continue from; return whether it was finished."""
        state = self._saving.begin(self.model, self._train) if self._saving is not None else None
        if state is None:
            remove_file(self._last_weights)
            self._track(None)
            return False
        self._losses, self._evaluation_due = state["losses"], state["evaluation_due"]
        self._first_losses_seen = True
        if state.get("loss_sums"):
            self._sums.load(state["loss_sums"])
        self.history = TrainingHistory(**state["history"])
        self._began -= self.history.seconds
        self._track(state.get("tracking"))
        return bool(state["finished"])

    def _track(self, state: Mapping[str, Any] | None) -> None:
        if self._tracking is not None:
            self._tracking.begin(self.model, self._progress(), state)

    def _progress(self, seconds: float = 0.0) -> trackers.Progress:
        history = self.history
        seconds += history.step_seconds
        return trackers.Progress(self.model._total_steps, history.samples, seconds)

    @property
    def _evaluation_follows(self) -> bool:
        """Whether an evaluation comes before the next step; a run without any makes one at its end."""
        at_end = self.model._total_steps == self._last_step and not self.history.evaluations
        return self._evaluation_due or at_end

    def _run(self, epochs: int) -> None:
        model = self.model
        if self._evaluation_due:
            self._after_step()
        for epoch in range(model._epoch_index, epochs):
            if model._stop_training:
                break
            model._epoch_index = epoch
            self.history.epochs = epoch + 1
            logger.debug("Epoch %d of %d begins", epoch + 1, epochs)
            self._train_epoch()
        if not self.history.evaluations:
            self._evaluation_due = True
            self._after_step()
        if not model._save_best_only:
            with self._writing(self._last_weights):
                model.save_weights(str(self._last_weights))
        self.history.seconds = time.monotonic() - self._began
        if self._saving is not None:
            self._save(finished=True)

    @property
    def _last_weights(self) -> Path:
        best = Path(self.model.checkpoint)
        return best.with_name(f"{best.stem}_last{best.suffix}")

    @contextmanager
    def _writing(self, path: str | Path) -> Iterator[None]:
        """Say how to continue where weights cannot be written."""
        try:
            yield
        except OutputError as error:
            raise OutputError(f"{error} --resume continues from the last state.") from error
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"The weights could not be written to {path}: {error}. Make room there; --resume "
                "continues from the last state."
            ) from error

    def _train_epoch(self) -> None:
        model, train, title = self.model, self._train, f"Epoch {self.history.epochs}"
        steps_between = model._eval_steps or len(train)
        model.train()
        with Progress(title, train.num_samples, enabled=model._verbose > 0) as progress:
            start = time.monotonic()
            first = model._total_steps % len(train)
            progress.skip(first * getattr(train, "batch_size", 0))
            for index, batch in enumerate(train, first):
                model._batch_index = index
                model._total_steps += 1
                model.train_step(batch)
                self._evaluation_due = model._total_steps % steps_between == 0
                self._collect_losses(all_of_them=self._evaluation_due)
                if not self._first_losses_seen:
                    self._first_losses_seen = warn_of_first_losses(model, model._total_steps)
                samples = len(next(iter(batch.values())))
                if self._ranks.count > 1:
                    samples = train.rows_in(index)
                self.history.samples += samples
                progress.update(samples, **({"loss": self._losses[-1]} if self._losses else {}))
                if self._tracking is not None:
                    so_far = self._progress(time.monotonic() - start)
                    self._tracking.after_step(so_far, self._evaluation_follows)
                self.history.step_seconds += time.monotonic() - start
                self._after_step()
                start = time.monotonic()
                if model._stop_training:
                    break
        self._collect_losses()

    def _collect_losses(self, all_of_them: bool = True) -> None:
        """Take the losses of the steps so far: of all, or only of those that were looked at already."""
        if all_of_them:
            self._watch.look()
        losses = self._watch.take()
        self._losses += losses
        if self._tracking is not None:
            self._tracking.take(losses)

    def _after_step(self) -> None:
        """Evaluate, save and stop, where it is time to."""
        self._heed_signals()
        if self._evaluation_due and self._request.signal is None:
            self._evaluate()
            self.model.train()
        self.history.seconds = time.monotonic() - self._began
        if self._request.signal is not None:
            self._stop()
        if self._saving is not None and self._saving.due(self.model._total_steps):
            self._save()

    def _heed_signals(self) -> None:
        self._request.signal = self._ranks.any_signal(self._request.noted)

    def _evaluate(self) -> None:
        model = self.model
        self._collect_losses()
        train_loss = float(np.mean(self._losses))
        train_losses = self._task_losses()
        names = model._monitor.get_metrics()
        gates: dict[str, float] = {}
        valid = self._request.or_stop(lambda: self._validate(names, gates))
        if valid is None:  # a signal came
            return
        logger.info(
            "Epoch %d, step %s: train loss %s; valid %s",
            *(self.history.epochs, f"{model._total_steps:,}"),
            *(_figures({"": train_loss, **train_losses}), _figures(valid)),
        )
        if self._tracking is not None:
            self._tracking.evaluated(self._progress(), valid, gates)
        self._losses.clear()
        self._sums.reset()
        self._evaluation_due = False
        self.history.evaluations.append(
            {
                "epoch": self.history.epochs,
                "step": model._total_steps,
                "train_loss": train_loss,
                "train_losses": train_losses,
                "learning_rate": model.optimizer.param_groups[0]["lr"],
                "valid": valid,
            }
        )
        best_only, model._save_best_only = model._save_best_only, True
        try:
            with self._writing(model.checkpoint):
                model.checkpoint_and_earlystop(valid)
        finally:
            model._save_best_only = best_only
        if self._on_evaluation is not None:
            self._on_evaluation(self.history.evaluations)

    def _validate(self, names: Sequence[str], gates: dict[str, float]) -> dict[str, float]:
        with self._tracking.validating(gates) if self._tracking is not None else nullcontext():
            part = predict(self.model, self._valid, "Validate")
        predictions = self._ranks.gather(part, self._valid)
        figures: dict[str, float] = self._ranks.from_first(
            lambda: evaluate_predictions(self.tasks, predictions, names)
        )
        return figures

    def _task_losses(self) -> dict[str, float]:
        """Return the mean train loss of each task that had a sample since the last evaluation."""
        losses = zip(self.tasks, self._sums.means(), strict=False)
        return {label: loss for label, loss in losses if not math.isnan(loss)}

    def _save(self, finished: bool = False) -> bool:
        assert self._saving is not None
        self._collect_losses()
        progress = {
            "finished": finished,
            "evaluation_due": self._evaluation_due,
            "losses": self._losses,
            "loss_sums": self._sums.state(),
            "history": asdict(self.history),
        }
        if self._tracking is not None:
            progress["tracking"] = self._tracking.state()
        return self._saving.save(self.model, self._train, progress, finished)

    def _stop(self, finished: bool = False) -> None:
        number = self._request.signal
        assert number is not None
        where = f"after step {self.model._total_steps:,}, in epoch {self.history.epochs}"
        go_on = "The state could not be saved; --resume continues from the one before."
        if self._save(finished):
            go_on = "The state is saved: the same command with --resume continues from there."
        raise Stopped(number, f"Stopped by {stop_signals()[number]} {where}. {go_on}")


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6f}".strip() for name, value in values.items())
