"""Files of pretrained vectors, read as FuxiCTR reads them, but only where the data are their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import polars as pl
from fuxictr.preprocess.tokenizer import load_pretrain_emb

from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.h5_files import inside

Array: TypeAlias = np.ndarray[Any, Any]

_ARRAYS = ("key", "value")


def read_pretrained(path: Path) -> tuple[Array, Array]:
    """Return the keys and the vectors of a file.

    Args:
        path: A .h5, .npz or .parquet file.

    Returns:
        The keys, (N,), and what stands under ``value``.

    Raises:
        DataError: One of the two is not there, lies in another file, or holds references.
        Exception: Whatever the format's reader raises at a file that is not of it.
    """
    names = _names(path)
    if not names.issuperset(_ARRAYS):
        found = ", ".join(sorted(names)) or "nothing"
        raise DataError(f"needs the arrays 'key' and 'value', holds {found}.")
    try:
        keys, vectors = load_pretrain_emb(str(path), list(_ARRAYS))
    except ValueError as error:
        pickled = _pickled(path) if path.suffix == ".npz" else []
        if not pickled:
            raise
        raise DataError(
            f"{' and '.join(map(repr, pickled))} {'is' if len(pickled) == 1 else 'are'} stored as Python "
            "objects (pickled), which could run code when read, so they never are. Save plain arrays: "
            "np.savez(path, key=np.array(keys.tolist()), value=np.stack(list(vectors)))."
        ) from error
    return keys, vectors


def _pickled(path: Path) -> list[str]:
    """Return the arrays of an npz file that only unpickling could read."""
    found = []
    with np.load(path, allow_pickle=False) as arrays:
        for name in _ARRAYS:
            try:
                arrays[name]
            except ValueError as error:
                if "allow_pickle" in str(error):
                    found.append(name)
    return found


def _names(path: Path) -> set[str]:
    if path.suffix == ".parquet":
        return set(pl.read_parquet_schema(path))
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            names = set(file)
            for name in names.intersection(_ARRAYS):
                dtype = inside(file, name).dtype
                if dtype.kind not in "iufS" and not h5py.check_string_dtype(dtype):
                    raise DataError(f"{name!r} holds {dtype}, neither numbers nor text: refused.")
            return names
    with np.load(path, allow_pickle=False) as arrays:
        return set(arrays.files)
