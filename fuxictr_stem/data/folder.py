"""Folders that appear whole: names, locks and what killed runs left behind."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.errors import OutputError

logger = logging.getLogger(__name__)

_TEMPORARY = re.compile(r"[0-9a-f]{16}\.tmp-\d+-[0-9a-f]{8}")


def remove_stale(folder: Path) -> None:
    """Remove what killed builds left: a folder whose lock is free has no builder any more."""
    for stale in folder.parent.glob("*.tmp-*"):
        # Only names that `beside` gives: the user's own files may lie here, too.
        if not _TEMPORARY.fullmatch(stale.name):
            continue
        name = stale.name.partition(".tmp-")[0]
        if name == folder.name:
            shutil.rmtree(stale, ignore_errors=True)
            continue
        with suppress(Timeout, OSError), FileLock(_lock(folder.with_name(name)), timeout=0):
            shutil.rmtree(stale, ignore_errors=True)


def beside(folder: Path) -> Path:
    """Return a new name beside a cache's folder, for one that is not complete or not wanted."""
    return folder.with_name(f"{folder.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache's folder, waiting for another run that builds it.

    Raises:
        OutputError: The lock cannot be made.
    """
    path = _lock(folder)
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Waiting for another run that builds this cache (%s)", path)
            lock.acquire()
    except OSError as error:
        raise OutputError(f"data_root: the lock {path} cannot be taken ({error}).") from error
    try:
        yield
    finally:
        lock.release()


def sync(folder: Path) -> None:
    """Have the content of a folder on disk before its name says that it is complete."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    # Some network file systems cannot sync a folder; the rename is still atomic.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
