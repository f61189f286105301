"""The h5 files of a cache: one dataset per column, checksums on, and nothing read from elsewhere."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.h5_files import local_dataset

Write = Callable[[int, Mapping[str, Array]], None]

CHUNK_ROWS = 1 << 14
_CHUNK_BYTES = 1 << 22
_OWNER = "owner"
# What h5py raises, depending on which structure of a file is damaged.
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class _Disk(io.FileIO):
    """A file that keeps its first error and seems to go on.

    Where a write fails, HDF5 leaves what it has half open, and ends the process by a signal when Python
    exits.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


@contextmanager
def create(
    path: Path, rows: int, columns: Mapping[str, tuple[np.dtype[Any], int]], owner: str = ""
) -> Iterator[Write]:
    """Create a file of columns and yield what writes rows into it: ``write(first_row, values)``.

    ``rows`` is the length of every column, ``columns`` the type and width of each (width 0 is one
    value per row); ``owner`` says what the file is part of, for `check`.

    Raises:
        OSError: The file cannot be written.
    """
    with _Disk(path, "w+") as disk:
        # The latest format has checksums on its own structures; Fletcher-32 guards the data.
        with h5py.File(disk, "w", libver="latest") as file:
            # Of fixed length: the heap of other texts has no checksum.
            file.attrs[_OWNER] = np.bytes_(owner)
            for name, (dtype, width) in columns.items():
                tail = (width,) if width else ()
                fits = _CHUNK_BYTES // (dtype.itemsize * max(width, 1))
                chunk = max(1, min(rows, CHUNK_ROWS, 1 << max(fits.bit_length() - 1, 0)))
                shape = {"shape": (rows, *tail), "chunks": (chunk, *tail)}
                file.create_dataset(name, dtype=dtype, fletcher32=True, **shape)

            def write(start: int, values: Mapping[str, Array]) -> None:
                for name, column in values.items():
                    file[name][start : start + len(column)] = column
                    if disk.error is not None:
                        raise disk.error

            yield write
        if disk.error is not None:
            raise disk.error


def open_file(path: Path) -> h5py.File:
    """Open a cache file for reading; it stays readable, whatever is put in its place meanwhile.

    Raises:
        DataError: There is no such file, or it is no h5 file.
        AccessError: The system does not let it be read.
    """
    try:
        with _damage_named(path):
            if not stat.S_ISREG(path.stat().st_mode):
                raise FileNotFoundError
            # A cache's files never change, so HDF5's own locks guard nothing: a notebook that holds one
            # would keep every run out, and some file systems have none.
            return h5py.File(path, "r", locking=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"no cache file {path}: build the cache of the dataset first.") from error


def read_ahead(path: Path) -> None:
    """Have the system begin to read a file, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def check(file: h5py.File, owner: str, columns: Collection[str]) -> None:
    """Compare an open file with what it was created as.

    Raises:
        DataError: It is another's, is damaged or has other columns.
        AccessError: The system does not let it be read.
    """
    with _damage_named(file.filename):
        label, names = file.attrs.get(_OWNER), set(file)
    if not isinstance(label, bytes) or label != owner.encode():
        raise DataError(f"{file.filename} is not part of {owner}: another file took its place.")
    if names != set(columns):
        raise DataError(f"{file.filename} has other columns than its manifest.")


def column(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a column of numbers that lies in the file itself.

    Raises:
        DataError: There is no such column, or its data are elsewhere, damaged or no numbers.
    """
    with _damage_named(file.filename, f"column {name!r}"):
        data = local_dataset(file, name)
        numbers = data.ndim in (1, 2) and data.dtype.kind in "iuf"
    if not numbers:
        raise DataError(
            f"{file.filename}: column {name!r} is not an array of numbers, so it is not read."
        )
    return data


def read(data: h5py.Dataset, start: int, stop: int) -> Array:
    """Read rows of a column.

    Raises:
        DataError: Their checksum is wrong or the file is cut off.
        AccessError: The system does not let them be read.
    """
    try:
        return data[start:stop]
    except _BROKEN:
        # Only now: HDF5 needs a tenth of the time of a read to give names.
        with _damage_named(data.file.filename, f"column {data.name[1:]!r}"):
            raise


@contextmanager
def _damage_named(path: str | Path, part: str = "it") -> Iterator[None]:
    """Raise what h5py raises at a damaged file as an error that names file and part."""
    try:
        yield
    except (DataError, FileNotFoundError, NotADirectoryError):
        raise
    except _BROKEN as error:
        check_access(Path(path), error)
        raise DataError(
            f"{path} is damaged: {part} cannot be read ({error}). Run `fuxictr_stem cache clear`, which "
            f"removes damaged caches, or delete the folder {Path(path).parent}; the next run rebuilds it."
        ) from error
