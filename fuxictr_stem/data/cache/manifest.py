"""The account of a cache: what it holds, and how to see that it still does."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.cache_folder import MANIFEST, cache_name, own_file
from fuxictr_stem.data.cache.fingerprint import FORMAT, whole_digest
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.file_errors import check_access

_TEXTS = ("fingerprint", "dataset_id")
_MAPPINGS = ("versions", "rows", "columns", "labels", "missing", "unknown", "files")


class Damaged(Exception):
    """A cache does not hold what its manifest says; the text names the file."""


class OtherFormat(Damaged):
    """A cache of another version of this package."""


def owner(fingerprint: str, split: str) -> str:
    """Return what the h5 file of a split says that it is."""
    return f"cache {fingerprint}, {split}"


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose other files are complete.

    Args:
        folder: The folder.
        content: Everything but the format, the files and the manifest's own digest.
    """
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    manifest = {"format": FORMAT, **content, "files": {p.name: _account(p, True) for p in paths}}
    manifest["digest"] = _digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2))


def read(folder: Path) -> dict[str, Any]:
    """Read a cache's manifest and compare the folder with it, but for the rows themselves.

    Args:
        folder: The cache's folder.

    Returns:
        The manifest.

    Raises:
        Damaged: A file is absent, cut off, changed, another's, or has other columns or rows; the
            blocks of the h5 files are not read (their checksums are, whenever they are).
        AccessError: The system does not let a file be read, which says nothing about it.
    """
    manifest = _read(folder)
    for damage in _damages(folder, manifest, whole=False):
        raise Damaged(damage)
    return manifest


def damages(folder: Path) -> list[str]:
    """Read every byte of a cache and return what is wrong, a text for each damaged file.

    Raises:
        OtherFormat: The cache is of another version of this package.
        AccessError: The system does not let a file be read.
    """
    try:
        return list(_damages(folder, _read(folder), whole=True))
    except OtherFormat:
        raise
    except Damaged as damage:
        return [str(damage)]


def _read(folder: Path) -> dict[str, Any]:
    """Return the manifest if it is as it was written, for this folder."""
    path = folder / MANIFEST
    try:
        _check_plain(path)
        manifest = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        check_access(path, error)
        raise Damaged(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise Damaged(f"{path} is no manifest")
    if manifest.get("format") != FORMAT:
        raise OtherFormat(f"{path} is not of format {FORMAT}")
    if manifest.pop("digest", None) != _digest(manifest) or not _has_form(manifest):
        raise Damaged(f"{path} was changed after it was written")
    if (
        manifest["fingerprint"] != cache_name(folder)
        or manifest["dataset_id"] != folder.parent.name
    ):
        raise Damaged(f"{path} belongs to another cache")
    names = {*manifest["files"], *(f"{split}.h5" for split in manifest["rows"])}
    if not all(own_file(name) for name in names) or not set(manifest["rows"]) <= set(SPLITS):
        raise Damaged(f"{path} names files that are no cache's: {', '.join(sorted(names))}")
    return manifest


def _has_form(manifest: Mapping[str, Any]) -> bool:
    texts = all(isinstance(manifest.get(key), str) for key in _TEXTS)
    if not texts or not all(isinstance(manifest.get(key), dict) for key in _MAPPINGS):
        return False
    remarks = manifest.get("remarks")
    if not isinstance(remarks, list) or not all(_is_remark(remark) for remark in remarks):
        return False
    inner = [*manifest["files"].values(), *manifest["columns"].values()]
    return (
        all(isinstance(one, dict) for one in inner)
        and all(isinstance(one.get("shape"), list) for one in manifest["columns"].values())
        and all(isinstance(rows, int) for rows in manifest["rows"].values())
    )


def _is_remark(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 3 and all(isinstance(t, str) for t in found)


def _damages(folder: Path, manifest: Mapping[str, Any], whole: bool) -> Iterator[str]:
    """Say what is wrong with each file; look into the blocks of the h5 files if `whole`."""
    splits = {f"{split}.h5": split for split in manifest["rows"]}
    for name in sorted({*manifest["files"], *splits}):
        path, said = folder / name, manifest["files"].get(name, {})
        try:
            found = _account(path, whole or name not in splits)
        except OSError as error:
            check_access(path, error)
            yield f"{path} cannot be read: {error}"
            continue
        if any(said.get(key) != value for key, value in found.items()):
            yield f"{path} is not what was written: {found} against {said}"
        elif name in splits:
            try:
                _check_split(path, splits[name], manifest)
            except DataError as error:
                yield str(error)


def _check_split(path: Path, split: str, manifest: Mapping[str, Any]) -> None:
    columns = manifest["columns"]
    with store.open_file(path) as file:
        store.check(file, owner(manifest["fingerprint"], split), columns)
        for name, said in columns.items():
            data, shape = store.column(file, name), (manifest["rows"][split], *said["shape"])
            if data.shape != shape or str(data.dtype) != said.get("dtype"):
                raise DataError(f"{path}: column {name!r} is {data.dtype}{data.shape}")


def _account(path: Path, whole: bool) -> dict[str, Any]:
    """Return a file's size and, if `whole`, its SHA-256."""
    _check_plain(path)
    account: dict[str, Any] = {"bytes": path.stat().st_size}
    return account | {"sha256": whole_digest(path)} if whole else account


def _check_plain(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"it is a link or no file: {path.name}")


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
