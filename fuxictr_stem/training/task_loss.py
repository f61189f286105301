"""A task's samples in a batch, and its mean loss over them.

A row without a task's label, or outside its sample space, is not its sample: the label is NaN there.

Symbols: B batch, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import Problem, choice_problems, suggest
from fuxictr_stem.layers import device
from fuxictr_stem.metrics.task_metrics import BINARY, REGRESSION, TASKS

_BCE = ("binary_crossentropy", "binary_cross_entropy", "bce")
# loss -> the task type it fits; the first of a type is its default.
LOSSES = {
    **dict.fromkeys(_BCE, BINARY),
    **dict.fromkeys(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"), REGRESSION),
}
DEFAULT_LOSS = {task: loss for loss, task in reversed(LOSSES.items())}


class Labels(list[Tensor]):
    """A batch's labels, (B, 1) per task, NaN in rows that are not samples, and weights of the rows."""

    def __init__(self, labels: Iterable[Tensor], weight: Tensor | None = None) -> None:
        super().__init__(labels)
        self.weight = weight


def mean_loss(
    loss: Callable[..., Tensor],
    y_pred: Tensor,
    y_true: Tensor,
    weight: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Return a task's mean loss over its samples; 0, with gradients of 0, if it has none.

    Predictions, labels (NaN in rows that are not samples) and weights, >= 0, are (B, 1). With weights it is
    ``sum(w * l) / sum(w)``. Where these rows are a part of a batch, ``total`` is the number of samples of
    the whole, or the sum of their weights; what the part adds to the mean is returned.

    Example:
        >>> y_pred, y_true = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([[0.0], [torch.nan], [2.0]])
        >>> mean_loss(torch.nn.functional.mse_loss, y_pred, y_true)  # (1 + 9) / 2: one row is no sample
        tensor(5.)
    """
    present = ~torch.isnan(y_true)
    if not device.on_host(y_true):
        return _mean_in_fixed_shapes(loss, y_pred, y_true, present, weight, total)
    if not present.all():
        # Taken out before the loss: the gradient of a loss of NaN, times 0, is NaN.
        y_pred, y_true = y_pred[present], y_true[present]
        weight = None if weight is None else weight[present]
    if not y_true.numel():
        return y_pred.sum()
    if weight is None and total is None:
        return loss(y_pred, y_true, reduction="mean")
    losses = loss(y_pred, y_true, reduction="none")
    if weight is not None:
        losses, total = weight * losses, weight.sum() if total is None else total
    assert total is not None
    return losses.sum() / torch.where(total > 0, total, 1)


def _mean_in_fixed_shapes(
    loss: Callable[..., Tensor],
    y_pred: Tensor,
    y_true: Tensor,
    present: Tensor,
    weight: Tensor | None,
    total: Tensor | None,
) -> Tensor:
    # A cross entropy on a CUDA device ends the whole process where a prediction is not a number.
    finite = torch.isfinite(y_pred)
    y_pred, y_true = torch.where(finite, y_pred, 0.5), torch.where(present, y_true, 0.0)
    losses = torch.where(finite, loss(y_pred, y_true, reduction="none"), torch.nan)
    weight = present.to(losses.dtype) if weight is None else torch.where(present, weight, 0.0)
    total = weight.sum() if total is None else total
    return (weight * losses).sum() / torch.where(total > 0, total, 1)


def sample_weights(y_true: Sequence[Tensor]) -> Tensor:
    """Return the number of each task's samples in a batch, or the sum of their weights, (T,)."""
    weight = getattr(y_true, "weight", None)
    present_TB1 = ~torch.isnan(torch.stack(list(y_true)))
    return (present_TB1 if weight is None else present_TB1 * weight).sum(dim=(1, 2))


def model_labels(model: MultiTaskModel) -> list[str]:
    """Return the labels that a model trains, ours or FuxiCTR's."""
    return list(getattr(model, "labels", model.feature_map.labels))


def task_losses(
    model: MultiTaskModel, outputs: Mapping[str, Tensor], y_true: list[Tensor]
) -> list[Tensor]:
    """Return the mean loss of each task, of a model of ours or FuxiCTR's."""
    if hasattr(model, "task_losses"):
        return list(model.task_losses(outputs, y_true))
    # FuxiCTR's own models add them up in `add_loss`.
    return [
        loss(outputs[f"{label}_pred"], y, reduction="mean")
        for label, loss, y in zip(model_labels(model), model.loss_fn, y_true, strict=True)
    ]


def per_task(value: str | Sequence[str], labels: Sequence[str]) -> list[str]:
    """Return a setting that is one for all tasks, or a list, as a list."""
    return [value] * len(labels) if isinstance(value, str) else list(value)


def losses_of(loss: str | Sequence[str] | None, tasks: Sequence[str]) -> list[str]:
    """Return each task's loss; None is the default of its type."""
    return per_task(loss, tasks) if loss else [DEFAULT_LOSS[task] for task in tasks]


def task_problems(
    labels: Sequence[str],
    dataset_labels: Sequence[str],
    task: str | Sequence[str],
    loss: str | Sequence[str] | None,
    num_tasks: int | None,
) -> Iterator[Problem]:
    """Yield why labels, task types, losses (one for all or a list) and ``num_tasks`` do not go together."""
    for label in labels:
        if label not in dataset_labels:
            text = (
                f"{label!r} is not a label of the dataset, which has {', '.join(dataset_labels)}."
            )
            yield Problem("task_labels", text, suggest(label, dataset_labels))
    if len(set(labels)) < len(labels):
        text = f"names a label twice: {', '.join(labels)}."
        yield Problem("task_labels", text, "Name each once.")
        return
    for name in [task] if isinstance(task, str) else task:
        yield from choice_problems("task", name, TASKS, "a list of these")
    counts = {"num_tasks": num_tasks}
    stated = [f"num_tasks is {num_tasks}"] if num_tasks else []
    for key, value in (("task", task), ("loss", loss)):
        if isinstance(value, str):
            stated.append(f"{key} is one for all")
        elif value is not None:
            counts[key] = len(value)
            stated.append(f"{key} has {counts[key]} entries")
    differing = [key for key, count in counts.items() if count not in (None, len(labels))]
    if differing:
        trained = f"{len(labels)} labels are trained ({', '.join(labels)})"
        text = f"the numbers of tasks differ: {', '.join(stated)}, but {trained}."
        hint = "Give one entry per label, or choose the labels by task_labels."
        yield Problem(differing[0], text, hint)


def loss_problems(
    labels: Sequence[str], tasks: Sequence[str], losses: Sequence[str]
) -> Iterator[Problem]:
    """Yield the losses that do not fit the types of their tasks; lists of one entry per label."""
    for loss, task in dict.fromkeys(zip(losses, tasks, strict=True)):
        if LOSSES.get(loss, task) != task:
            trained = zip(labels, losses, tasks, strict=True)
            misfits = ", ".join(label for label, *pair in trained if pair == [loss, task])
            fitting = ", ".join(name for name, fits in LOSSES.items() if fits == task)
            text = f"{loss} does not fit tasks of type {task}, as which {misfits} is trained."
            hint = f"Losses of that type: {fitting}. Mixed tasks need a list, one loss per label."
            yield Problem("loss", text, hint)


def sample_space_problems(
    sample_spaces: Mapping[str, str] | None, labels: Sequence[str], dataset_labels: Sequence[str]
) -> Iterator[Problem]:
    """Yield what is wrong with the tasks' sample spaces; dataset_labels may be empty: not known."""
    key = "sample_spaces"
    for label, space in (sample_spaces or {}).items():
        if label not in labels:
            text = f"{label!r} is not trained; the labels that are: {', '.join(labels)}."
            yield Problem(key, text, suggest(label, labels))
        if dataset_labels and space not in dataset_labels:
            text = (
                f"{space!r} is not a label of the dataset, which has {', '.join(dataset_labels)}."
            )
            near = suggest(space, dataset_labels)
            yield Problem(key, text, near or "Add it to label_col; it need not be trained.")
        elif space == label:
            text = f"{label!r} cannot be its own sample space: only positives would be left."
            yield Problem(key, text, "Name the label of the step before.")
