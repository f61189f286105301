"""The h5 files of a cache: one dataset a column, checksums on, and nothing read from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxictr_stem.data.vocabulary import Array
from fuxictr_stem.errors import DataError, suggest

CHUNK_ROWS = 1 << 14
_CHUNK_BYTES = 1 << 22


def create(path: Path, rows: int, columns: Mapping[str, tuple[np.dtype[Any], int]]) -> h5py.File:
    """Create a file of empty columns for writing.

    Args:
        path: The file.
        rows: Length of every column.
        columns: Type and width of each; width 0 is one value a row.
    """
    # The latest format has checksums on its own structures; Fletcher-32 guards the data.
    file = h5py.File(path, "w", libver="latest")
    for name, (dtype, width) in columns.items():
        tail = (width,) if width else ()
        fits = _CHUNK_BYTES // (dtype.itemsize * max(width, 1))
        chunk = max(1, min(rows, CHUNK_ROWS, 1 << max(fits.bit_length() - 1, 0)))
        file.create_dataset(
            name, shape=(rows, *tail), dtype=dtype, chunks=(chunk, *tail), fletcher32=True
        )
    return file


def open_file(path: Path) -> h5py.File:
    """Open a cache file for reading.

    Raises:
        DataError: There is no such file, or it is no h5 file.
    """
    if not path.is_file():
        raise DataError(f"no cache file {path}: build the cache of the dataset first.")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is damaged: {error}. {_ADVICE.format(path.parent)}") from error


def read_ahead(path: Path) -> None:
    """Have the system begin to read a file, where it can be told to."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def column(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a column that lies in the file itself: no link, no external or virtual storage.

    Raises:
        DataError: There is no such column, or its data are elsewhere.
    """
    try:
        link = file.get(name, getlink=True)
        if link is None:
            known = suggest(name, file)
            raise DataError(f"{file.filename} has no column {name!r}.{known}")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{file.filename}: column {name!r} is a link to elsewhere: refused.")
        data = file[name]
        if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
            raise DataError(f"{file.filename}: column {name!r} is stored elsewhere: refused.")
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(file, name, error) from error
    if data.ndim not in (1, 2) or data.dtype.kind not in "iuf":
        raise DataError(f"{file.filename}: column {name!r} is no array of numbers by row: refused.")
    return data


def read(data: h5py.Dataset, start: int, stop: int) -> Array:
    """Read rows of a column.

    Raises:
        DataError: Their checksum is wrong or the file is cut off.
    """
    try:
        return data[start:stop]
    except (OSError, RuntimeError) as error:
        raise _damaged(data.file, data.name.lstrip("/"), error) from error


_ADVICE = "Delete the folder {}; the next run builds it anew."


def _damaged(file: h5py.File, name: str, error: Exception) -> DataError:
    folder = Path(file.filename).parent
    return DataError(
        f"{file.filename} is damaged: column {name!r} cannot be read ({error}). "
        + _ADVICE.format(folder)
    )
