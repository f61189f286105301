"""A training step as one CUDA graph: its kernels are recorded once and then launched together."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from fuxictr_stem.training.adam_step import AdamStep

logger = logging.getLogger(__name__)

WARM_UP = 3
"""Steps that run kernel by kernel first: libraries and optimizer allocate what stays in them."""


class GraphedStep:
    """Takes the steps of an `AdamStep` on a CUDA device, the same ones, by replaying a graph.

    A graph holds for one shape of the batch, learning rate and clipping. The shape of most rows so far is
    graphed; a batch of fewer, such as the last of an epoch, with which a resumed run may begin, runs
    kernel by kernel. A new learning rate records again. A model that cannot be recorded continues kernel by
    kernel, with a warning.
    """

    def __init__(self, step: AdamStep) -> None:
        self.step = step
        self.optimizer = step.optimizer
        self._rows = 0
        self._shape: object = None
        self._setting: object = None
        self._steps = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: dict[str, Tensor] = {}
        self._loss: Tensor | None = None
        self._can_record = True

    def __call__(self, batch: dict[str, Tensor], max_norm: float) -> Tensor:
        """Take a step, as `AdamStep` does."""
        shape = tuple((name, x.shape, x.dtype) for name, x in batch.items())
        rows = len(next(iter(batch.values())))
        if rows > self._rows:
            self._rows, self._shape, self._setting = rows, shape, None
        if shape != self._shape or not self._can_record:
            return self.step(batch, max_norm)
        setting = (max_norm, *(group["lr"] for group in self.optimizer.param_groups))
        if setting != self._setting:
            self._setting, self._steps, self._graph = setting, 0, None
        if self._graph is None:
            if self._steps < WARM_UP:
                self._steps += 1
                return self._on_another_stream(batch, max_norm)
            self._record(batch, max_norm)
            if self._graph is None:
                return self.step(batch, max_norm)
        assert self._loss is not None
        torch._foreach_copy_(list(self._inputs.values()), [batch[name] for name in self._inputs])
        self._graph.replay()
        return self._loss.clone()

    def hold_after_lost_step(self, on: bool) -> None:
        """As `AdamStep.hold_after_lost_step`."""
        self.step.hold_after_lost_step(on)
        self._record_anew()

    def watch_norm(self, norm: Tensor) -> None:
        """As `AdamStep.watch_norm`."""
        self.step.watch_norm(norm)
        self._record_anew()

    def _record_anew(self) -> None:
        # What is recorded would continue with the tensors that it was recorded with.
        self._setting = self._graph = self._loss = None

    def _on_another_stream(self, batch: dict[str, Tensor], max_norm: float) -> Tensor:
        """Take a step on a stream of its own, as it must be before recording."""
        # Of the model's device, which need not be the current one.
        device = self.step.model.device
        stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            loss = self.step(batch, max_norm)
        current.wait_stream(stream)
        return loss

    def _record(self, batch: dict[str, Tensor], max_norm: float) -> None:
        """Record the step; nothing is computed."""
        device = self.step.model.device
        self._inputs = {name: x.to(device, copy=True) for name, x in batch.items()}
        graph = torch.cuda.CUDAGraph()
        try:
            # What is recorded must allocate its gradients itself.
            self.optimizer.zero_grad()
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):
                self._loss = self.step(self._inputs, max_norm)
        except RuntimeError as error:
            logger.warning("The step cannot be a CUDA graph, so it runs more slowly: %s", error)
            self._can_record = False
            return
        self._graph = graph
