"""Where a cache is judged: whole, or damaged, and by which file.

Its manifest is the account of all other files (`runtime.whole_folder`), with the rows, columns and labels
that they hold. A run that opens a cache judges by `check`: small files by their SHA-256, the h5 files by
size, owner and columns; their blocks have checksums of their own, compared whenever they are read. ``cache
verify`` judges by `damages`, which reads every byte. `open_cache` rebuilds what is damaged, `inventory`
lists it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.cache_folder import MANIFEST, is_cache_file
from fuxictr_stem.data.cache.fingerprint import FORMAT
from fuxictr_stem.data.encoding.remarks import Remark
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.outputs import final_name
from fuxictr_stem.runtime.whole_folder import Damaged, OtherFormat, file_damage, read_account


class _Column(BaseModel):
    dtype: str
    shape: list[int]


class Manifest(BaseModel):
    """What a manifest holds, besides its format."""

    model_config = ConfigDict(strict=True, frozen=True)

    fingerprint: str
    dataset_id: str
    versions: dict[str, str]
    rows: dict[str, int]  # of each split
    columns: dict[str, _Column]
    labels: dict[str, dict[str, dict[str, Any]]]  # figures by split and label, as in `SplitStats`
    missing: dict[str, dict[str, int]]  # by split: rows without a value, of each meta column
    # By split and column: the share of its ids that are the unknown one, which missing text has, too; a
    # sequence's without padding.
    unknown: dict[str, dict[str, float]]
    remarks: list[Remark]  # what is odd about its columns
    files: dict[str, dict[str, Any]]


def owner(fingerprint: str, split: str) -> str:
    """Return what the h5 file of a split says that it is."""
    return f"cache {fingerprint}, {split}"


def check(folder: Path) -> Manifest:
    """Judge a cache by everything but the blocks of its h5 files; return its manifest.

    Raises:
        Damaged: A file is absent, cut off, changed, another's, or has other columns or rows.
        AccessError: The system does not let a file be read, which says nothing about it.
    """
    manifest = _manifest(folder)
    for damage in _damages(folder, manifest, whole=False):
        raise Damaged(damage)
    return manifest


def damages(folder: Path) -> list[str]:
    """Judge a cache by every byte; return what is wrong, a text for each damaged file.

    Raises:
        OtherFormat: The cache is of another version of this package.
        AccessError: The system does not let a file be read.
    """
    try:
        return list(_damages(folder, _manifest(folder), whole=True))
    except OtherFormat:
        raise
    except Damaged as damage:
        return [str(damage)]


def _manifest(folder: Path) -> Manifest:
    """Return the manifest if it is as it was written, for this folder, and leads nowhere else."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate(read_account(path, FORMAT))
    except ValidationError as error:
        raise Damaged(f"{path} is no manifest of a cache") from error
    place = (folder.parent.name, final_name(folder.name))
    if (manifest.dataset_id, manifest.fingerprint) != place:
        raise Damaged(f"{path} belongs to another cache")
    names = {*manifest.files, *(f"{split}.h5" for split in manifest.rows)}
    if not all(map(is_cache_file, names)) or not set(manifest.rows) <= set(SPLITS):
        raise Damaged(f"{path} names files that are not a cache's: {', '.join(sorted(names))}")
    return manifest


def _damages(folder: Path, manifest: Manifest, whole: bool) -> Iterator[str]:
    """Say what is wrong with each file; look into the blocks of the h5 files if `whole`."""
    splits = {f"{split}.h5": split for split in manifest.rows}
    for name in sorted({*manifest.files, *splits}):
        path = folder / name
        damage = file_damage(path, manifest.files.get(name, {}), whole or name not in splits)
        if damage:
            yield damage
        elif name in splits:
            try:
                _check_split(path, splits[name], manifest)
            except DataError as error:
                yield str(error)


def _check_split(path: Path, split: str, manifest: Manifest) -> None:
    with store.open_file(path) as file:
        store.check(file, owner(manifest.fingerprint, split), manifest.columns)
        for name, column in manifest.columns.items():
            data, shape = store.column(file, name), (manifest.rows[split], *column.shape)
            if data.shape != shape or str(data.dtype) != column.dtype:
                raise DataError(f"{path}: column {name!r} is {data.dtype}{data.shape}")
