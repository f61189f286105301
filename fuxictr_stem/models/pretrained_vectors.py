"""Files of pretrained vectors, read as FuxiCTR reads them, but only where the data are their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import polars as pl

from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.h5_files import inside

Array: TypeAlias = np.ndarray[Any, Any]

_ARRAYS = ("key", "value")


def read_pretrained(path: Path) -> tuple[Array, Array]:
    """Return the keys and the vectors of a file.

    Args:
        path: A .h5, .npz or .parquet file.

    Returns:
        The keys, (N,), and the array called ``value``.

    Raises:
        DataError: One of the two is missing, lies in another file, or holds Python objects.
        Exception: Whatever the format's reader raises at a file of another format.
    """
    if path.suffix == ".parquet":
        _check_names(pl.read_parquet_schema(path))
        frame = pl.read_parquet(path, columns=list(_ARRAYS), glob=False)
        keys, vectors = (frame[name].to_numpy() for name in _ARRAYS)
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            _check_names(file)
            keys, vectors = (_of_h5(file, name) for name in _ARRAYS)
    else:
        with np.load(path, allow_pickle=False) as arrays:
            _check_names(arrays.files)
            keys, vectors = _of_npz(arrays)
    return keys, vectors


def _check_names(names: Iterable[str]) -> None:
    if not set(names).issuperset(_ARRAYS):
        there = ", ".join(sorted(names)) or "nothing"
        raise DataError(f"needs the arrays 'key' and 'value', holds {there}.")


def _of_h5(file: h5py.File, name: str) -> Array:
    data = inside(file, name)
    if data.dtype.kind not in "iufS" and not h5py.check_string_dtype(data.dtype):
        raise DataError(f"{name!r} holds {data.dtype}, neither numbers nor text: refused.")
    return np.asarray(data[:])


def _of_npz(arrays: np.lib.npyio.NpzFile) -> tuple[Array, Array]:
    found, pickled = [], []
    for name in _ARRAYS:
        try:
            found.append(arrays[name])
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            pickled.append(name)
    if pickled:
        raise DataError(
            f"{' and '.join(map(repr, pickled))} {'is' if len(pickled) == 1 else 'are'} stored as Python "
            "objects (pickled), which could run code when read, so they never are. Save plain arrays: "
            "np.savez(path, key=np.array(keys.tolist()), value=np.stack(list(vectors)))."
        )
    return found[0], found[1]
