"""Locks between processes; the system frees a lock when its holder dies.

Some file systems have no locks. There a run ends with a message, unless its config says
``file_locks: False``: it then continues without, and nothing keeps two runs apart.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.errors import OutputError

logger = logging.getLogger(__name__)

NO_LOCKS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK})
"""Error numbers of a file system that has no locks."""


@contextmanager
def locked(
    path: Path, key: str, holder: str, required: bool = True, waits: bool = True
) -> Iterator[None]:
    """Hold a lock, waiting for whoever holds it, or raise `OutputError`.

    The lock's file stays: another process may be waiting for it. ``key`` is the config's key that chooses
    its folder, and ``holder`` who is waited for. Unless it is ``required`` (``file_locks``), work goes on
    where the file system has no locks; where no one ``waits``, a lock that is held is an error.
    """
    if not has_locks(path):
        place = f"{key}: the file system of {path.parent} has no locks"
        if required:
            raise OutputError(
                f"{place}. Choose a folder on another file system. Or set file_locks: False, and never "
                "run two at once that share data_root or model_root: nothing would keep them apart."
            )
        text = "%s, and file_locks is False: nothing protects it from another run or from `cache clear`."
        logger.warning(text, place)
        yield
        return
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not waits:
                raise OutputError(
                    f"{key} {path.parent}: {holder} is writing there. Wait for it, or choose another "
                    "folder."
                ) from None
            logger.info("Waiting for %s (%s)", holder, path)
            lock.acquire()
    except OSError as error:
        raise OutputError(f"{key}: the lock {path} cannot be taken ({error}).") from error
    try:
        yield
    finally:
        lock.release()


def has_locks(path: Path) -> bool:
    """Say whether the file system of a lock's file has locks; the file is made if need be."""
    # Taking the lock reports that the file may not be made.
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in NO_LOCKS
        finally:
            os.close(handle)
    return True


def is_held(path: Path) -> bool:
    """Say whether a process holds a lock; no file is made where there is none."""
    if not path.is_file() or not has_locks(path):
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # Without permission to open it this is unknown; but then what it guards cannot be removed either.
        return False
