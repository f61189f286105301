"""What the metrics accept: columns of labels, predictions and groups, checked before use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fuxictr_stem.errors import DataError, first_line


def column(name: str, values: ArrayLike) -> np.ndarray:
    """Return values as a (N,) array, also of (N, 1); DataError if they are anything else or empty."""
    try:
        if hasattr(values, "detach"):
            # A tensor: NumPy reads none that has a gradient or 16-bit brain floats.
            tensor: Any = values
            tensor = tensor.detach().cpu()
            values = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        # Such as a list of lists of different lengths, or a sparse tensor.
        raise DataError(
            f"{name} cannot be read as an array ({first_line(error)}). Pass a dense array, tensor or "
            "list of shape (N,)."
        ) from error
    if np.ma.is_masked(values):
        raise DataError(
            f"{name} has {np.ma.count_masked(values)} of {array.size} values masked, and metrics "
            "do not support masks. Leave these rows out of all columns: values[~mask]."
        )
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DataError(
            f"{name} must have shape (N,) or (N, 1), but has shape {array.shape}. Pass one "
            f"task at a time."
        )
    if not len(array):
        raise DataError(f"{name} is empty: a metric needs at least one sample. Check the split.")
    return array


# From here on float64 holds every second whole number only, and makes ties of the others.
_EXACT = 2**53


def numbers(name: str, values: ArrayLike) -> np.ndarray:
    """Return finite numbers as a (N,) array; floats keep their width, all else becomes float64.

    DataError, which counts what is wrong, if there is anything else, or whole numbers beyond 2^53, which
    float64 merges.
    """
    array = column(name, values)
    _reject_merged(name, values, array)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{name} must hold numbers, but holds other objects.") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} must hold real numbers, but has dtype {array.dtype}.")
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        infinite = len(array) - np.count_nonzero(finite)
        raise DataError(
            f"{name} has {infinite} of {len(array)} values that are NaN or infinite. Metrics need "
            f"finite numbers: if these are predictions, training has diverged (lower the learning "
            f"rate)."
        )
    return array


def _reject_merged(name: str, values: ArrayLike, array: np.ndarray) -> None:
    """Reject whole numbers that are, or would be, rounded to float64."""
    # NumPy has rounded those of a list that holds floats, too, or numbers beyond its integers.
    rounded = isinstance(values, (list, tuple)) and array.dtype.kind == "f"
    if array.dtype.kind in "iu":
        merged = int(np.count_nonzero((array > _EXACT) | (array < -_EXACT)))
    elif array.dtype.kind == "O" or (rounded and np.abs(array).max() >= _EXACT):
        each = np.array(values, dtype=object).ravel()
        merged = sum(isinstance(v, (int, np.integer)) and abs(int(v)) > _EXACT for v in each)
    else:
        return
    if merged:
        raise DataError(
            f"{name} has {merged} of {len(array)} whole numbers beyond 2^53, which float64 cannot tell "
            f"from their neighbours. Pass their ranks, or floats."
        )


def binary_labels(y_true: ArrayLike) -> np.ndarray:
    """Return 0/1 labels as a boolean (N,) array, true for positives; DataError if there are others."""
    array = column("y_true", y_true)
    if array.dtype.kind not in "biufO":
        raise DataError(f"y_true must hold 0 and 1, but has dtype {array.dtype}.")
    positive = array == 1
    invalid = ~(positive | (array == 0))
    if invalid.any():
        raise DataError(
            f"y_true has {np.count_nonzero(invalid)} of {len(array)} labels that are neither 0 nor "
            f"1, such as {array[invalid][0]!s}. Logloss and AUC need 0/1 labels: fix the labels, or "
            f"declare the task as regression."
        )
    return positive.astype(bool, copy=False)


def same_length(**columns: np.ndarray) -> None:
    """Check that all columns have one length; DataError, which names each, if not."""
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise DataError(f"All columns must have the same length, but the lengths are: {lengths}.")
