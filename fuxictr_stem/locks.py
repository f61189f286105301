"""Locks between processes; the system frees a lock when its holder dies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.errors import OutputError

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, key: str, holder: str) -> Iterator[None]:
    """Hold a lock, waiting for whoever holds it.

    Args:
        path: The lock's file. It stays behind: another process may be waiting for it.
        key: The config's key that chooses its folder, for the message.
        holder: What is waited for, to be logged.

    Raises:
        OutputError: The lock cannot be made.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("Waiting for %s (%s)", holder, path)
            lock.acquire()
    except OSError as error:
        raise OutputError(f"{key}: the lock {path} cannot be taken ({error}).") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Say whether a process holds a lock; no file is made where there is none."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # Who may not open it cannot tell; nor can they remove what it guards.
        return False
