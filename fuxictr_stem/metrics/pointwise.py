"""Metrics that are means over samples: logloss for binary tasks, MSE and MAE for regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics.inputs import binary_labels, numbers, same_length


def logloss(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean binary cross-entropy, natural logarithm.

    Computed in float64, so a prediction of exactly 0 or 1 counts as float64's eps from it, as with
    scikit-learn's ``log_loss`` on float64 input.

    Args:
        y_true: (N,) labels, 0 or 1.
        y_pred: (N,) probabilities of label 1.

    Raises:
        DataError: If lengths differ, a label is not 0/1, or a prediction is not within [0, 1].
    """
    positive = binary_labels(y_true)
    probability = numbers("y_pred", y_pred).astype(np.float64, copy=False)
    same_length(y_true=positive, y_pred=probability)
    outside = np.count_nonzero((probability < 0) | (probability > 1))
    if outside:
        raise DataError(
            f"y_pred has {outside} of {len(probability)} values outside [0, 1]. Logloss needs "
            f"probabilities: apply the sigmoid first."
        )
    eps = np.finfo(np.float64).eps
    of_truth = np.where(positive, probability, 1 - probability)
    np.clip(of_truth, eps, 1 - eps, out=of_truth)
    return float(-np.log(of_truth, out=of_truth).mean())


def mse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean squared error.

    Raises:
        DataError: If lengths differ or a value is not a finite number.
    """
    error = _error(y_true, y_pred)
    return float(np.square(error, out=error).mean())


def mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean absolute error.

    Raises:
        DataError: If lengths differ or a value is not a finite number.
    """
    error = _error(y_true, y_pred)
    return float(np.abs(error, out=error).mean())


def _error(y_true: ArrayLike, y_pred: ArrayLike) -> np.ndarray:
    true, pred = numbers("y_true", y_true), numbers("y_pred", y_pred)
    same_length(y_true=true, y_pred=pred)
    return np.subtract(pred, true, dtype=np.float64)
