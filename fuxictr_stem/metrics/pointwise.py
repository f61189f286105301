"""Metrics of a split as a whole: logloss, NE and calibration of binary tasks, MSE, MAE and R2 of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics.check_arrays import binary_labels, numbers, same_length


def logloss(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean binary cross-entropy, natural logarithm.

    Computed in float64, so a prediction of exactly 0 or 1 counts as float64's eps from it, as with
    scikit-learn's ``log_loss`` on float64 input.

    Args:
        y_true: (N,) labels, 0 or 1.
        y_pred: (N,) probabilities of label 1.

    Raises:
        DataError: If lengths differ, a label is not 0/1, or a prediction is not within [0, 1].

    Example:
        >>> round(logloss([1, 0], [0.8, 0.5]), 4)  # -(log 0.8 + log 0.5) / 2
        0.4581
    """
    return float(cross_entropies(*_binary(y_true, y_pred, "Logloss")).mean())


def cross_entropies(positive: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the binary cross-entropy of each sample, (N,), of checked labels and probabilities."""
    eps = np.finfo(np.float64).eps
    of_truth = np.where(positive, probability, 1 - probability)
    np.clip(of_truth, eps, 1 - eps, out=of_truth)
    return np.negative(np.log(of_truth, out=of_truth), out=of_truth)


def normalized_entropy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return NE: the logloss over the entropy of the split's share of positives.

    1 is what predicting that share for every sample gets; lower is better. Unlike logloss it can be
    compared between tasks of other shares (He et al., Practical Lessons from Predicting Clicks on Ads at
    Facebook, ADKDD 2014, eq. 3). Arguments and errors are those of `logloss`; one class only is an error,
    too.
    """
    loss = logloss(y_true, y_pred)
    share = float(binary_labels(y_true).mean())
    if share in (0.0, 1.0):
        raise DataError(
            f"NE needs both classes, but all labels are {share:.0f}: there is no entropy to measure "
            f"against. Check the label column and the split, or leave NE out of the metrics."
        )
    return loss / -(share * np.log(share) + (1 - share) * np.log1p(-share))


def calibration(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the predicted over the observed number of positives; 1 is right on average.

    Above 1 the model promises too much, below too little (He et al., ADKDD 2014, section 2.2). Arguments
    and errors are those of `logloss`; without a positive it is a DataError.
    """
    positive, probability = _binary(y_true, y_pred, "Calibration")
    observed = np.count_nonzero(positive)
    if not observed:
        raise DataError(
            f"Calibration divides by the number of positives, but all {len(positive)} labels are 0. "
            f"Check the label column and the split, or leave calibration out of the metrics."
        )
    return float(probability.sum() / observed)


def calibration_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return how far `calibration` is from 1, which a monitor can minimise."""
    return abs(calibration(y_true, y_pred) - 1)


def mse(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean squared error of predictions (N,) for labels (N,).

    Raises DataError if lengths differ or a value is not a finite number.
    """
    error = _error(y_true, y_pred)
    return float(np.square(error, out=error).mean())


def mae(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean absolute error; arguments, (N,) each, and errors as of `mse`."""
    error = _error(y_true, y_pred)
    return float(np.abs(error, out=error).mean())


def r2(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the share of the labels' variance that is predicted: 1 at best, 0 for their mean.

    Arguments, (N,) each, and errors are those of `mse`; labels that are all equal are an error, too.
    """
    error = _error(y_true, y_pred)
    true = numbers("y_true", y_true).astype(np.float64, copy=False)
    if (true == true[0]).all():
        raise DataError(
            f"R2 compares with the variance of the labels, but all {len(true)} are {true[0]:g}. Check "
            f"the label column and the split, or leave R2 out of the metrics."
        )
    return float(1 - np.square(error).sum() / np.square(true - true.mean()).sum())


def _binary(y_true: ArrayLike, y_pred: ArrayLike, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return which labels are positive, and the predictions as float64 probabilities."""
    positive = binary_labels(y_true)
    probability = numbers("y_pred", y_pred).astype(np.float64, copy=False)
    same_length(y_true=positive, y_pred=probability)
    outside = np.count_nonzero((probability < 0) | (probability > 1))
    if outside:
        raise DataError(
            f"y_pred has {outside} of {len(probability)} values outside [0, 1]. {metric} needs "
            f"probabilities: apply the sigmoid first."
        )
    return positive, probability


def _error(y_true: ArrayLike, y_pred: ArrayLike) -> np.ndarray:
    true, pred = numbers("y_true", y_true), numbers("y_pred", y_pred)
    same_length(y_true=true, y_pred=pred)
    return np.subtract(pred, true, dtype=np.float64)
