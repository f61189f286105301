"""The tasks' losses summed over training steps, on the model's device, so that no step waits for the host.

The first sums say whether one task's loss dwarfs another's: then it alone shapes what they share.

Symbols: T tasks.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fuxictr_stem.metrics.task_metrics import REGRESSION
from fuxictr_stem.training.loss_weights import UNCERTAINTY, FixedWeights, LossWeight, TaskWeights

logger = logging.getLogger(__name__)

LIMIT = 20.0
_LAST_STEP = 64


class LossSums(nn.Module):
    """Sums of the tasks' losses and of the sample weights behind them.

    They are a buffer, which is on the model's device and in a CUDA graph of a step, but not in the
    model's weights.
    """

    sums_2T: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        # A float32 sum loses digits within an epoch.
        sums = torch.zeros(2, num_tasks, dtype=torch.float64)
        self.register_buffer("sums_2T", sums, persistent=False)

    @torch.no_grad()
    def add(self, losses_T: Tensor, weights_T: Tensor) -> None:
        """Add a batch's mean losses, each over samples of this number (or sum of weights)."""
        weights_T = weights_T.double()
        self.sums_2T += torch.stack([losses_T * weights_T, weights_T])

    def means(self) -> list[float]:
        """Return each task's mean loss over the samples since the last `reset`; NaN without a sample."""
        losses, weights = self.sums_2T.tolist()
        return [a / b if b else math.nan for a, b in zip(losses, weights, strict=True)]

    def reset(self) -> None:
        """Start over."""
        self.sums_2T.zero_()

    def state(self) -> list[list[float]]:
        """Return the sums, exact in JSON."""
        state: list[list[float]] = self.sums_2T.tolist()
        return state

    def load(self, state: list[list[float]]) -> None:
        """Continue from what `state` returned."""
        self.sums_2T.copy_(torch.tensor(state, dtype=torch.float64))


@runtime_checkable
class TaskLosses(Protocol):
    """A model that sums its tasks' losses and can note the norm of its gradient, as `MultiTaskNet` does."""

    labels: list[str]
    tasks: dict[str, str]
    loss_weight: LossWeight
    task_weights: TaskWeights
    loss_sums: LossSums
    gradient_norm: Tensor | None

    def watch_gradient_norm(self) -> None:
        """Have ``gradient_norm`` hold the norm of each step's gradient."""


def warn_of_first_losses(model: TaskLosses, step: int) -> bool:
    """Warn of tasks whose first loss, times its fixed weight, is over 20 times another's.

    The losses are looked at after steps 1, 2, 4 and so on until each task has had a sample, for 64 steps
    at most, so that hardly any step waits for the device. Returns whether there is nothing more to look at.
    """
    if step & (step - 1):
        return False
    losses = model.loss_sums.means()
    if any(map(math.isnan, losses)) and step < _LAST_STEP:
        return False
    fixed = model.task_weights
    weights = fixed.weights_T.tolist() if isinstance(fixed, FixedWeights) else [1.0] * len(losses)
    weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    # A task without a sample or a weight has no part in the loss.
    least = min((value for value in weighted if value > 0), default=math.inf)
    large = [value > LIMIT * least for value in weighted]
    if not any(large):
        return True
    other = weighted.index(least)
    rows = zip(model.labels, weights, weighted, large, strict=True)
    pairs = ", ".join(
        f"{label}: {weight * least / value if is_large else weight:.2g}"
        for label, weight, value, is_large in rows
    )
    for task, label in enumerate(model.labels):
        if large[task]:
            logger.warning(
                "Task %r begins with a loss of %.4g, %.0f times the %.4g of %r%s, so it alone shapes what "
                "the tasks share: %s.",
                *(label, losses[task], weighted[task] / least, losses[other], model.labels[other]),
                " (loss_weight counted)" if isinstance(fixed, FixedWeights) else "",
                _cure(model, [label, model.labels[other]], f"set loss_weight: {{{pairs}}}"),
            )
    return True


def _cure(model: TaskLosses, labels: list[str], weights: str) -> str:
    """Return what to do: scale the first of two labels that is a number, or weight the losses."""
    scaled = next((label for label in labels if model.tasks[label] == REGRESSION), None)
    if scaled is None:
        return weights
    scale = f"scale the label {scaled!r} in the files to a standard deviation of about 1"
    return scale if model.loss_weight == UNCERTAINTY else f"{scale}, or {weights}"
