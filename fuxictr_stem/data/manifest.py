"""The account of a cache: what it holds, and how to see that it still does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.data import store
from fuxictr_stem.data.fingerprint import FORMAT, WHOLE_BYTES
from fuxictr_stem.errors import DataError

NAME = "manifest.json"

_KEYS = ("fingerprint", "dataset_id", "versions", "rows", "columns", "labels", "files")


class Damaged(Exception):
    """A cache does not hold what its manifest says; the text names the file."""


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a folder whose other files are complete.

    Args:
        folder: The folder.
        content: Everything but the format, the files and the manifest's own digest.
    """
    files = {path.name: _account(path) for path in sorted(folder.iterdir()) if path.name != NAME}
    manifest = {"format": FORMAT, **content, "files": files}
    manifest["digest"] = _digest(manifest)
    (folder / NAME).write_text(json.dumps(manifest, indent=2))


def read(folder: Path) -> dict[str, Any]:
    """Read a cache's manifest and compare the folder with it.

    Args:
        folder: The cache's folder.

    Returns:
        The manifest.

    Raises:
        Damaged: A file is absent, cut off, changed, or has other columns or rows; the blocks of the
            h5 files are not read (their checksums are, whenever they are).
    """
    path = folder / NAME
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Damaged(f"{path} is not of format {FORMAT}")
    if manifest.pop("digest", None) != _digest(manifest) or not all(k in manifest for k in _KEYS):
        raise Damaged(f"{path} was changed after it was written")
    for name, said in manifest["files"].items():
        try:
            found = _account(folder / name)
        except OSError as error:
            raise Damaged(f"{folder / name} cannot be read: {error}") from error
        if found != said:
            raise Damaged(f"{folder / name} is not what was written: {found} against {said}")
    for split, rows in manifest["rows"].items():
        try:
            _check_columns(folder / f"{split}.h5", rows, manifest["columns"])
        except DataError as error:
            raise Damaged(str(error)) from error
    return manifest


def _check_columns(path: Path, rows: int, columns: Mapping[str, Mapping[str, Any]]) -> None:
    with store.open_file(path) as file:
        if set(file) != set(columns):
            raise DataError(f"{path} has other columns than its manifest")
        for name, said in columns.items():
            data = store.column(file, name)
            if data.shape != (rows, *said["shape"]) or str(data.dtype) != said["dtype"]:
                raise DataError(f"{path}: column {name!r} is {data.dtype}{data.shape}")


def _account(path: Path) -> dict[str, Any]:
    """Return a file's size and, where it is small and has no checksums of its own, its SHA-256."""
    size = path.stat().st_size
    if path.suffix == ".h5" and not path.name.startswith("pretrained_") or size > WHOLE_BYTES:
        return {"bytes": size}
    return {"bytes": size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
