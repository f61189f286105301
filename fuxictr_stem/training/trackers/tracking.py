"""What trackers receive: points of figures, collected without waiting for the device.

A point comes every so many steps, and with each evaluation. Losses are means over the steps since the
point before; the gradient's norm is that of the point's step, before clipping; samples per second leave
evaluations out. Symbols: T tasks.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.runtime.memory import peak_rss_bytes
from fuxictr_stem.training.loss_sums import TaskLosses
from fuxictr_stem.training.trackers.delivery import Delivery
from fuxictr_stem.training.trackers.gate_means import GateSums, NamedGates, figure_name
from fuxictr_stem.training.trackers.tracker import ALWAYS, Ending, Point, TrackedRun, Tracker

_FAILED_SECONDS = 10.0


class Progress(NamedTuple):
    """Where a training is: what it has done so far."""

    step: int  # number of steps
    samples: int
    seconds: float  # in steps


@dataclass
class _Look:
    """What a point needs of the moment of its step; the tensor is on the model's device."""

    progress: Progress
    time: float
    figures: dict[str, float]  # those that are numbers already
    tensor: Tensor | None  # sums of the tasks' losses, of their weights, the norm, weights of tasks


class Tracking:
    """Makes the points of one run and has them delivered to its trackers.

    As a context it ends the run for them: as failed or killed where an error passes, unless `end` came.

    Args:
        trackers: The trackers; none make this do nothing.
        run: What they show.
        steps: Steps between two points.
    """

    def __init__(self, trackers: Sequence[Tracker], run: TrackedRun, steps: int) -> None:
        self.run = run
        self.gates: Sequence[NamedGates] = []
        self._deliveries = [Delivery(tracker) for tracker in trackers]
        self._steps = steps
        self._model: MultiTaskModel
        self._ours: TaskLosses | None = None
        self._last = Progress(0, 0, 0.0)  # of the last point
        self._sums: list[float] = []  # the tasks' loss sums at the last point
        self._losses: list[float] = []  # of the steps after it
        self._looks: deque[_Look] = deque()  # points whose losses have not been looked at

    def __bool__(self) -> bool:
        """Whether there is a tracker."""
        return bool(self._deliveries)

    def begin(
        self, model: MultiTaskModel, progress: Progress, state: Mapping[str, Any] | None
    ) -> None:
        """Start, before a model's next step; with the `state` of the run that continues, if it has one."""
        self._model, self._ours = model, model if isinstance(model, TaskLosses) else None
        self._last, self._losses, self._sums = progress, [], []
        if self._ours is not None:
            self._ours.watch_gradient_norm()
            self._sums = sum(self._ours.loss_sums.state(), [])
        if state is not None:
            self._last = Progress(*state["last"])
            self._losses, self._sums = list(state["losses"]), list(state["sums"])
        of_trackers = (state or {}).get("trackers", {})
        for delivery in self._deliveries:
            delivery.start(self.run, of_trackers.get(delivery.name), progress.step)

    def after_step(self, progress: Progress, evaluation_due: bool) -> None:
        """Make a point if it is time to; one that an evaluation follows comes with that."""
        if progress.step % self._steps == 0 and not evaluation_due:
            self._looks.append(self._look(progress, {}))
            self._settle()

    def take(self, losses: Sequence[float]) -> None:
        """Take the losses of the next steps, which have been looked at: the device has come that far."""
        self._losses += losses
        self._settle()

    @contextmanager
    def validating(self, figures: dict[str, float]) -> Iterator[None]:
        """Add the gates' mean weights over the rows that the model sees meanwhile to some figures."""
        with ExitStack() as stack:
            every = [GateSums(gates) for gates in self.gates]
            for gates, sums in zip(self.gates, every, strict=True):
                stack.enter_context(gates.watched(sums.add))
            yield
        for sums in every:
            figures |= sums.figures()

    def evaluated(
        self, progress: Progress, valid: Mapping[str, float], gates: Mapping[str, float]
    ) -> None:
        """Make the point of an evaluation; all losses are taken, and their sums not yet reset."""
        of_valid = {figure_name("valid", name): value for name, value in valid.items()}
        self._looks.append(self._look(progress, {**of_valid, **gates}))
        self._settle()
        self._sums = [0.0] * len(self._sums)

    @torch.no_grad()
    def _look(self, progress: Progress, figures: dict[str, float]) -> _Look:
        model, ours = self._model, self._ours
        figures["train/learning_rate"] = model.optimizer.param_groups[0]["lr"]
        figures["memory/peak_rss_bytes"] = peak_rss_bytes()
        if model.device.type == "cuda":
            figures["memory/peak_cuda_bytes"] = torch.cuda.max_memory_allocated(model.device)
        tensor = None
        if ours is not None:
            weights_T = ours.task_weights.weights()
            parts = [ours.loss_sums.sums_2T, ours.gradient_norm, weights_T]
            flat = [part.detach().double().flatten() for part in parts if part is not None]
            tensor = torch.cat(flat)
        return _Look(progress, time.time(), figures, tensor)

    def _settle(self) -> None:
        """Hand on the points whose losses are there."""
        while self._looks and self._looks[0].progress.step <= self._last.step + len(self._losses):
            look = self._looks.popleft()
            figures = {**look.figures, **self._figures(look)}
            finite = {name: value for name, value in figures.items() if math.isfinite(value)}
            for delivery in self._deliveries:
                delivery.put(Point(look.progress.step, look.time, finite))
            self._last = look.progress

    def _figures(self, look: _Look) -> dict[str, float]:
        """Return the figures of the steps since the last point."""
        progress, last = look.progress, self._last
        figures = dict(self._task_figures(look.tensor))
        if progress.seconds > last.seconds:
            speed = (progress.samples - last.samples) / (progress.seconds - last.seconds)
            figures["speed/samples_per_second"] = speed
        count = progress.step - last.step
        losses, self._losses = self._losses[:count], self._losses[count:]
        if losses:
            figures[ALWAYS] = sum(losses) / len(losses)
        return figures

    def _task_figures(self, tensor: Tensor | None) -> Iterator[tuple[str, float]]:
        """Yield each task's loss and weight, and the gradient's norm; they have one way to the host."""
        if tensor is None or self._ours is None:
            return
        labels, numbers = self._ours.labels, tensor.tolist()
        count = len(labels)
        sums = numbers[: 2 * count]
        since = [now - before for now, before in zip(sums, self._sums, strict=True)]
        self._sums = sums
        for label, loss, weight in zip(labels, since[:count], since[count:], strict=True):
            if weight > 0:
                yield figure_name("train", f"{label}_loss"), loss / weight
        yield "train/gradient_norm", numbers[2 * count]
        for label, weight in zip(labels, numbers[2 * count + 1 :], strict=False):
            yield figure_name("weight", label), weight

    def state(self) -> dict[str, Any]:
        """Return what continues from here, as JSON; all losses are taken."""
        states = {delivery.name: delivery.state() for delivery in self._deliveries}
        return {
            "last": list(self._last),
            "losses": self._losses,
            "sums": self._sums,
            "trackers": {name: state for name, state in states.items() if state is not None},
        }

    def end(self, result: Mapping[str, Any]) -> None:
        """End the run with the content of its ``result.json``."""
        self._end("FINISHED", result)

    def _end(self, status: str, result: Mapping[str, Any] | None, **seconds: float) -> None:
        deliveries, self._deliveries = self._deliveries, []
        for delivery in deliveries:
            delivery.end(Ending(status, self._last.step, result), **seconds)

    def __enter__(self) -> Tracking:
        """Return this."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the run where `end` has not."""
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        self._end(status, None, seconds=_FAILED_SECONDS)
