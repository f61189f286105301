"""Folders that appear whole, with an account of their bytes: caches, training states, prepared splits.

Their files are written into a new folder next to their place (`fresh_folder`), last of all the account, a
JSON file with the size and SHA-256 of every file and a digest of itself (`write_account`). Then everything
is synced and takes its place by one rename (`put_in_place`). A killed process leaves a temporary name at
most, which the next one removes (`outputs.temporaries`).

Whoever opens such a folder reads the account (`read_account`) and compares the files with it
(`file_damage`, `check_files`). What a file holds makes the folder `Damaged`; what the system denies (a
lock, a permission, one open file too many) is an `AccessError`, which says nothing about the content.

Files at places of a user's choice have an account, too: `sealed` makes it, `outputs.write_json` writes it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.outputs import sync, sync_folder, temporary_name

_BLOCK = 1 << 20


class Damaged(Exception):
    """A folder does not hold what its account says; the text names the file."""


class OtherFormat(Damaged):
    """An account of another version of this package."""


@contextmanager
def fresh_folder(place: Path) -> Iterator[Path]:
    """Yield a new folder next to a place; unless it is put there, it is removed at the end."""
    fresh = temporary_name(place)
    try:
        fresh.mkdir()
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put_in_place(fresh: Path, place: Path) -> None:
    """Have a folder on disk, then at its place, where no folder may be yet, or raise OSError."""
    sync(fresh)
    fresh.rename(place)
    sync_folder(place.parent)


def sealed(content: Mapping[str, Any], files: Iterable[Path]) -> dict[str, Any]:
    """Return an account: some JSON content, the size and SHA-256 of complete files by name, and a digest.

    The content's ``format`` is what `read_account` asks for.
    """
    account = {**content, "files": {path.name: file_account(path) for path in sorted(files)}}
    return {**account, "digest": digest(account)}


def write_account(path: Path, content: Mapping[str, Any]) -> None:
    """Write the account of all other files in a folder that nothing reads yet, or raise OSError."""
    files = (file for file in path.parent.iterdir() if file != path)
    path.write_text(json.dumps(sealed(content, files), indent=2), encoding="utf-8")


def read_account(path: Path, format: int) -> dict[str, Any]:
    """Return an account as it was written, without its digest.

    It is `Damaged` if it is absent, none or was changed, and of `OtherFormat` if it has another one.
    """
    try:
        _check_plain(path)
        account = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        check_access(path, error)
        raise Damaged(f"{path} cannot be read: {error}") from error
    if not isinstance(account, dict):
        raise Damaged(f"{path} is no account of files")
    if account.get("format") != format:
        raise OtherFormat(f"{path} is not of format {format}")
    if account.pop("digest", None) != digest(account):
        raise Damaged(f"{path} was changed after it was written")
    return account


def file_damage(path: Path, account: Mapping[str, Any], whole: bool = True) -> str:
    """Return what is wrong with a file by its entry in an account's ``files``, or "".

    Every byte is read only if ``whole``; else the size alone is compared.
    """
    try:
        actual = file_account(path, whole)
    except OSError as error:
        check_access(path, error)
        return f"{path} cannot be read: {error}"
    for key, value in actual.items():
        if account.get(key) != value:
            return f"{path} is not what was written: {key} {account.get(key)} then, {value} now"
    return ""


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare every byte of files with their entries in an account, or raise `Damaged`."""
    for name, account in files.items():
        if damage := file_damage(folder / name, account):
            raise Damaged(damage)


def file_account(path: Path, whole: bool = True) -> dict[str, Any]:
    """Return a file's size and, if `whole`, its SHA-256; OSError if it cannot be read, or is a link."""
    _check_plain(path)
    size = {"bytes": path.stat().st_size}
    return {**size, "sha256": file_digest(path)} if whole else size


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return sha.hexdigest()


def digest(account: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an account without its digest."""
    return hashlib.sha256(json.dumps(account, sort_keys=True).encode()).hexdigest()


def _check_plain(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"it is a link or no file: {path.name}")
