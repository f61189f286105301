"""h5 files that hold what they name: nothing is read from elsewhere."""

from __future__ import annotations

import h5py

from fuxictr_stem.errors import DataError, suggest


def local_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset that lies in the file itself, not by a link or elsewhere, or raise a DataError."""
    link = file.get(name, getlink=True)
    if link is None:
        raise DataError(f"{file.filename} has no column {name!r}.{suggest(name, file)}")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{file.filename}: column {name!r} is a link to elsewhere: rejected.")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{file.filename}: column {name!r} is stored elsewhere: rejected.")
    return data
