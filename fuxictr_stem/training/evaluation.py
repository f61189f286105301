"""Predictions and metrics of any FuxiCTR `MultiTaskModel`, without Python per row."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import evaluate_task, logloss, mean_over_tasks
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.training.precision import FP32, autocast, products_in
from fuxictr_stem.training.task_loss import model_labels

logger = logging.getLogger(__name__)

_FEW_STEPS = 100

Batches = Iterable[dict[str, Tensor]]
Samples = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Predictions(NamedTuple):
    """Labels and predictions of a split by label, (N,) each, and the groups.

    A label is NaN in a row that is not a sample of its task.
    """

    y_true: dict[str, np.ndarray]
    y_pred: dict[str, np.ndarray]
    group_id: np.ndarray | None

    def of(self, label: str, rows: np.ndarray | None = None) -> Samples:
        """Return labels, predictions and groups of a task's samples, among all or some rows."""
        columns = self.y_true[label], self.y_pred[label], self.group_id
        if rows is not None:
            columns = _taken(columns, rows)
        present = ~np.isnan(columns[0])
        return columns if present.all() else _taken(columns, present)


def _taken(columns: Samples, rows: np.ndarray) -> Samples:
    y_true, y_pred, group_id = columns
    return y_true[rows], y_pred[rows], None if group_id is None else group_id[rows]


def forward(model: MultiTaskModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's outputs on a batch, its products in the model's precision."""
    precision = getattr(model, "precision", FP32)
    with products_in(precision), autocast(precision, model.device):
        return model.forward(batch)


@torch.no_grad()
def predict(model: MultiTaskModel, batches: Batches, title: str = "Predict") -> Predictions:
    """Run a model over one pass of batches, in evaluation mode, in which it stays, as with FuxiCTR.

    ``num_samples`` of the batches, where they have it, gives the time left in the progress, called
    ``title``.
    """
    model.eval()
    labels = model_labels(model)
    # Copies of columns: views would keep whole batches.
    group = model.feature_map.group_id
    true: dict[str, list[Tensor]] = {label: [] for label in labels}
    pred: dict[str, list[Tensor]] = {label: [] for label in labels}
    groups: list[Tensor] = []
    total = getattr(batches, "num_samples", None)
    # Of batches that several processes share, all rows count.
    rows_in = getattr(batches, "rows_in", None)
    with Progress(title, total, enabled=model._verbose > 0) as progress:
        for index, batch in enumerate(batches):
            outputs = forward(model, batch)
            for label, y in zip(labels, model.get_labels(batch), strict=True):
                true[label].append(y.flatten().contiguous())
                pred[label].append(outputs[f"{label}_pred"].flatten())
            if group is not None:
                groups.append(batch[group].flatten().contiguous())
            progress.update(rows_in(index) if rows_in else len(batch[labels[0]]))
    # One copy to the host per column, not one per batch, waits for a device.
    return Predictions(
        {label: torch.cat(parts).cpu().double().numpy() for label, parts in true.items()},
        {label: torch.cat(parts).cpu().double().numpy() for label, parts in pred.items()},
        torch.cat(groups).cpu().numpy() if groups else None,
    )


def evaluate_predictions(
    tasks: Mapping[str, str], predictions: Predictions, names: Sequence[str]
) -> dict[str, float]:
    """Return ``{label}_{metric}`` of each task over its samples, and each metric's mean over tasks.

    Names are metrics (``AUC``), or results (``like_AUC``), which mean their metric: each is computed for
    every task it applies to, so that a mean is one over all of them.

    Example:
        >>> y_true = {"click": np.array([0, 1, 1]), "buy": np.array([0, np.nan, 1])}
        >>> y_pred = {"click": np.array([0.2, 0.9, 0.1]), "buy": np.array([0.1, 0.5, 0.6])}
        >>> tasks = dict.fromkeys(y_true, "binary_classification")
        >>> evaluate_predictions(tasks, Predictions(y_true, y_pred, None), ["AUC"])
        {'click_AUC': 0.5, 'buy_AUC': 1.0, 'AUC': 0.75}
    """
    results = {}
    metrics = [*names, *(name.removeprefix(f"{label}_") for label in tasks for name in names)]
    for label, task in tasks.items():
        y_true, y_pred, group_id = _samples(predictions, label)
        results[label] = evaluate_task(task, y_true, y_pred, metrics, group_id)
    per_task = {
        f"{label}_{name}": value
        for label, values in results.items()
        for name, value in values.items()
    }
    return {**per_task, **mean_over_tasks(results)}


def warn_of_constants(
    tasks: Mapping[str, str], valid: Predictions, steps: int, learning_rate: float, weighted: bool
) -> None:
    """Warn of binary tasks whose logloss on valid is above that of the best constant.

    That is the entropy of the share of positives. It is only a note for a model of a few steps that is
    still about as good as a fresh one, which predicts .5, and where rows are weighted: a model that counts
    positives ten times rightly predicts more than their share.
    """
    for label, task in tasks.items():
        if task != BINARY:
            continue
        y_true, y_pred, _ = _samples(valid, label)
        share = float(y_true.mean())
        constant = logloss(y_true, np.full_like(y_true, share))
        loss = logloss(y_true, y_pred)
        # With one class the best constant is perfect and says nothing.
        if not 0 < share < 1 or loss <= constant * (1 + 1e-9):
            continue
        if weighted:
            level, advice = logging.INFO, "sample_weight may cause this"
        elif steps < _FEW_STEPS and loss < 1.05 * math.log(2):
            level, advice = logging.INFO, "train longer (epochs)"
        else:
            level = logging.WARNING
            advice = (
                "set normalizer: StandardScaler for numeric features, declare ids categorical, or "
                f"change learning_rate ({learning_rate:g} now)"
            )
        logger.log(
            level,
            "Task %r: its logloss on valid, %.4g, is above the %.4g of always predicting the share of "
            "positives, %.3g, so after %s steps the model is worse than a constant: %s.",
            *(label, loss, constant, share, f"{steps:,}", advice),
        )


def _samples(predictions: Predictions, label: str) -> Samples:
    """Return labels, predictions and groups of a task's samples, of which there must be one."""
    samples, rows = predictions.of(label), len(predictions.y_true[label])
    if rows and not len(samples[0]):
        raise DataError(
            f"label {label!r} has no sample in this split: it is missing, or outside its sample "
            f"space, in all {rows:,} rows. Check the label, or remove it from task_labels."
        )
    return samples
