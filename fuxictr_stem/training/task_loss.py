"""A task's samples in a batch, and its mean loss over them.

A row without a task's label, or outside its sample space, is none of its samples: the label is NaN there.

Symbols: B batch, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fuxictr_stem.errors import ConfigError, suggest
from fuxictr_stem.layers import device
from fuxictr_stem.metrics.tasks import BINARY, REGRESSION

_BCE = ("binary_crossentropy", "binary_cross_entropy", "bce")
# loss -> the task type it fits; the first of a type is its default.
LOSSES = {
    **dict.fromkeys(_BCE, BINARY),
    **dict.fromkeys(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"), REGRESSION),
}
DEFAULT_LOSS = {task: loss for loss, task in reversed(LOSSES.items())}


class Labels(list[Tensor]):
    """A batch's labels, (B, 1) a task, NaN in rows that are none of its samples.

    Args:
        labels: The labels, a tensor a task.
        weight: (B, 1) weights of the rows, or None to count them alike.
    """

    def __init__(self, labels: Iterable[Tensor], weight: Tensor | None = None) -> None:
        super().__init__(labels)
        self.weight = weight


def mean_loss(
    loss: Callable[..., Tensor], y_pred: Tensor, y_true: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Return a task's mean loss over its samples; 0, with gradients of 0, if it has none.

    With weights it is ``sum(w * l) / sum(w)``.

    Args:
        loss: A loss of ``torch.nn.functional``.
        y_pred: (B, 1) predictions.
        y_true: (B, 1) labels, NaN in rows that are no samples.
        weight: (B, 1) weights >= 0 of the rows, or None to count them alike.
    """
    present = ~torch.isnan(y_true)
    if not device.on_host(y_true):
        return _mean_in_fixed_shapes(loss, y_pred, y_true, present, weight)
    if not present.all():
        # Taken out before the loss: the gradient of a loss of NaN, times 0, is NaN.
        y_pred, y_true = y_pred[present], y_true[present]
        weight = None if weight is None else weight[present]
    if not y_true.numel():
        return y_pred.sum()
    if weight is None:
        return loss(y_pred, y_true, reduction="mean")
    total = weight.sum()
    losses = loss(y_pred, y_true, reduction="none")
    return (weight * losses).sum() / torch.where(total > 0, total, 1)


def _mean_in_fixed_shapes(
    loss: Callable[..., Tensor],
    y_pred: Tensor,
    y_true: Tensor,
    present: Tensor,
    weight: Tensor | None,
) -> Tensor:
    # A cross entropy on a CUDA device ends the whole process where a prediction is not a number.
    finite = torch.isfinite(y_pred)
    y_pred, y_true = torch.where(finite, y_pred, 0.5), torch.where(present, y_true, 0.0)
    losses = torch.where(finite, loss(y_pred, y_true, reduction="none"), torch.nan)
    weight = present.to(losses.dtype) if weight is None else torch.where(present, weight, 0.0)
    total = weight.sum()
    return (weight * losses).sum() / torch.where(total > 0, total, 1)


def sample_weights(y_true: Sequence[Tensor]) -> Tensor:
    """Return the number of each task's samples in a batch, or the sum of their weights, (T,)."""
    weight = getattr(y_true, "weight", None)
    present_TB1 = ~torch.isnan(torch.stack(list(y_true)))
    return (present_TB1 if weight is None else present_TB1 * weight).sum(dim=(1, 2))


def spaces_of(sample_spaces: Mapping[str, str] | None, labels: Sequence[str]) -> dict[str, str]:
    """Return the tasks' sample spaces.

    Args:
        sample_spaces: By task, the label whose 1 makes a row one of its samples; None for none.
        labels: The labels that are trained.

    Raises:
        ConfigError: If a task is not trained, or is its own space.
    """
    spaces = dict(sample_spaces or {})
    for label, space in spaces.items():
        if label not in labels:
            raise ConfigError(
                f"sample_spaces: {label!r} is not among the labels that are trained, {list(labels)}."
                f"{suggest(label, labels)}"
            )
        if label == space:
            raise ConfigError(
                f"sample_spaces: {label!r} cannot be its own sample space: only positives would be "
                f"left. Name the label of the step before."
            )
    return spaces
