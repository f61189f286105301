"""The tasks' losses summed over training steps, on the model's device, so that no step waits for the host.

Symbols: T tasks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


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
        """Go on from what `state` returned."""
        self.sums_2T.copy_(torch.tensor(state, dtype=torch.float64))
