"""How the tasks' losses are weighted in their sum.

Symbols: T tasks; L_i the mean loss of task i over its samples of a batch; w_i its weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fuxictr_stem.errors import Problem, choice_problems, misfit, one_of, raise_first, suggest
from fuxictr_stem.metrics.task_metrics import REGRESSION

LOSS_WEIGHTS = EQUAL, UNCERTAINTY, DYNAMIC_AVERAGE = ("EQ", "UW", "DWA")
NUMBERS = "numbers >= 0: a list, or a mapping from labels"
"""What else a ``loss_weight`` may be, in words."""
LossWeight = str | Sequence[float] | Mapping[str, float]


class TaskWeights(nn.Module):
    """How the tasks' losses are weighted; this one is ``EQ``: each task adds its loss, L_i.

    Right where the losses are of similar size: the one with the larger gradients decides what is shared.
    """

    def forward(self, losses_T: Tensor, present_T: Tensor) -> Tensor:
        """Return what each task adds to a batch's loss, (T,); a task without a sample has a loss of 0."""
        weights_T = self.weights()
        return losses_T if weights_T is None else weights_T * losses_T

    def observe(self, losses_T: Tensor, present_T: Tensor, epoch: int) -> None:
        """Take note of a batch's losses, before its step; ``epoch`` counts from 0."""

    def weights(self) -> Tensor | None:
        """Return what each task's loss is multiplied by now, (T,), or None where it never changes."""
        return None


class FixedWeights(TaskWeights):
    """A number per task: task i adds ``w_i L_i``.

    Example:
        >>> FixedWeights([2, 0.5])(torch.tensor([0.7, 0.4]), torch.tensor([True, True]))
        tensor([1.4000, 0.2000])
    """

    weights_T: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights_T", torch.tensor(weights), persistent=False)

    def forward(self, losses_T: Tensor, present_T: Tensor) -> Tensor:
        """Return what each task adds to the loss of a batch, (T,)."""
        return self.weights_T * losses_T


class UncertaintyWeights(TaskWeights):
    """``UW``: weights from learnt uncertainties (Kendall, Gal and Cipolla, CVPR 2018).

    With ``s_i = log sigma_i^2``, sigma_i the learnt noise of task i, a classification task adds
    ``exp(-s_i) L_i + s_i / 2`` (their eq. 10), a regression task ``exp(-s_i) L_i / 2 + s_i / 2`` (eq. 7).
    A task without a sample in the batch adds nothing, so that its uncertainty stays as it is. All
    ``s_i`` start at 0. Not valid for losses that reach 0 on train: ``s_i`` then falls without end.

    Example:
        >>> weights = UncertaintyWeights(["binary_classification", "regression"])
        >>> weights(torch.tensor([0.7, 0.4]), torch.tensor([True, True])).detach()  # s = 0
        tensor([0.7000, 0.2000])
    """

    factors_T: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        # Not called weight or bias: FuxiCTR's net_regularizer leaves it alone.
        self.log_variances = nn.Parameter(torch.zeros(len(tasks)))
        factors = torch.tensor([0.5 if task == REGRESSION else 1.0 for task in tasks])
        self.register_buffer("factors_T", factors, persistent=False)

    def weights(self) -> Tensor:
        """Return what each task's loss is multiplied by now, (T,)."""
        return self.factors_T * torch.exp(-self.log_variances)

    def forward(self, losses_T: Tensor, present_T: Tensor) -> Tensor:
        """Return what each task adds to the loss of a batch, (T,)."""
        added_T = self.weights() * losses_T + self.log_variances / 2
        return torch.where(present_T, added_T, 0.0)


class DynamicWeightAverage(TaskWeights):
    """``DWA``: weights from how fast the losses fall (Liu, Johns and Davison, CVPR 2019, eq. 7).

    Task i adds ``w_i L_i`` with ``w = T softmax(r / 2)``, where ``r_i`` is its mean loss over the batches
    of the last epoch divided by that of the epoch before. In the first two epochs all weights are 1. The
    sums of this epoch and the means of the two before are buffers: weights that are saved continue from
    there. Without effect on runs of one or two epochs.

    Example:
        >>> weights, both = DynamicWeightAverage(2), torch.tensor([True, True])
        >>> for epoch, losses in enumerate([[1.0, 1.0], [0.5, 1.0], [0.5, 1.0]]):
        ...     weights.observe(torch.tensor(losses), both, epoch)
        >>> weights.weights()  # the loss that fell by half weighs less
        tensor([0.8756, 1.1244])
    """

    temperature = 2.0
    epoch: Tensor
    sums_T: Tensor
    counts_T: Tensor
    means_2T: Tensor

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.register_buffer("epoch", torch.zeros(1, dtype=torch.long))
        self.register_buffer("sums_T", torch.zeros(num_tasks))
        self.register_buffer("counts_T", torch.zeros(num_tasks))
        # The epoch before the last, and the last one; NaN before there are any.
        self.register_buffer("means_2T", torch.full((2, num_tasks), torch.nan))

    def weights(self) -> Tensor:
        """Return the tasks' weights in this epoch, (T,)."""
        before_T, last_T = self.means_2T
        rates_T = last_T / before_T
        # A task that had no sample, or no loss left to fall, neither rises nor falls.
        rates_T = torch.where(torch.isfinite(rates_T), rates_T, 1.0)
        return len(rates_T) * torch.softmax(rates_T / self.temperature, dim=0)

    @torch.no_grad()
    def observe(self, losses_T: Tensor, present_T: Tensor, epoch: int) -> None:
        """Add a batch's losses to its epoch's; the first batch of another epoch closes the last."""
        if epoch != int(self.epoch):
            self.means_2T.copy_(torch.stack([self.means_2T[1], self.sums_T / self.counts_T]))
            self.sums_T.zero_()
            self.counts_T.zero_()
            self.epoch.fill_(epoch)
        self.sums_T += torch.where(present_T, losses_T, 0.0)
        self.counts_T += present_T


def weights_of(loss_weight: LossWeight, tasks: Mapping[str, str]) -> TaskWeights:
    """Return the weighting that a ``loss_weight`` names for tasks, types by label."""
    raise_first(loss_weight_problems(loss_weight, list(tasks)))
    if loss_weight == EQUAL:
        return TaskWeights()
    if loss_weight == UNCERTAINTY:
        return UncertaintyWeights(list(tasks.values()))
    if loss_weight == DYNAMIC_AVERAGE:
        return DynamicWeightAverage(len(tasks))
    return FixedWeights([float(weight) for weight in in_order(loss_weight, tasks)])


def in_order(loss_weight: Any, labels: Iterable[str]) -> Any:
    """Return the weights of a mapping as a list in the order of the labels, all else as it is."""
    if isinstance(loss_weight, Mapping):
        return [loss_weight[label] for label in labels]
    return loss_weight


def loss_weight_problems(loss_weight: Any, labels: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with a ``loss_weight`` for the labels that are trained."""
    key, trained = "loss_weight", ", ".join(labels)
    if isinstance(loss_weight, str):
        yield from choice_problems(key, loss_weight, LOSS_WEIGHTS, NUMBERS)
        return
    by_label = loss_weight if isinstance(loss_weight, Mapping) else {}
    weights = list(by_label.values() or loss_weight)
    misfits = sorted(set(by_label) ^ set(labels)) if by_label else []
    if not all(0 <= weight < float("inf") for weight in weights):
        yield misfit(key, one_of(LOSS_WEIGHTS, NUMBERS), loss_weight)
    elif misfits:
        rule = f"must have one number for each label that is trained ({trained})"
        near = "".join(suggest(name, labels) for name in misfits if name not in labels)
        yield Problem(key, f"{rule}, but differs in {', '.join(misfits)}.", near)
    elif len(weights) != len(labels):
        text = f"has {len(weights)} entries, but {len(labels)} labels are trained ({trained})."
        yield Problem(key, text, "Give one number per label.")
    elif not any(weights):
        yield Problem(key, "is 0 for every task: nothing would be learnt.")
