"""Folders of caches that appear whole: their names, their locks and what killed runs left behind."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.runtime import locks
from fuxictr_stem.runtime.outputs import sync_folder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"

_MARK = ".tmp-"
_NAME = re.compile(r"([0-9a-f]{16})(\.tmp-\d+-[0-9a-f]{8})?")
_FILES = re.compile(
    r"manifest\.json|feature_(map|vocab)\.json|(train|valid|test)\.h5|pretrained_.+", re.DOTALL
)


def is_cache(name: str) -> bool:
    """Say whether a folder's name is that of a cache."""
    return is_ours(name) and _MARK not in name


def is_ours(name: str) -> bool:
    """Say whether a folder's name is that of a cache, or of one that is not complete or not wanted."""
    return _NAME.fullmatch(name) is not None


def cache_name(folder: Path) -> str:
    """Return the name of a cache, or that of the cache which an incomplete folder was to become."""
    return folder.name.partition(_MARK)[0]


def own_file(name: str) -> bool:
    """Say whether a file's name is one that a cache's folder may have."""
    return _FILES.fullmatch(name) is not None and Path(name).name == name


def remove_stale(folder: Path) -> None:
    """Remove what killed builds left: a folder whose lock is free has no builder any more."""
    for stale in folder.parent.glob(f"*{_MARK}*"):
        # The user's own files may lie here, too.
        if not is_ours(stale.name):
            continue
        if lock_of(stale) == lock_of(folder):
            shutil.rmtree(stale, ignore_errors=True)
            continue
        if not locks.has_locks(lock_of(stale)):
            continue
        with suppress(Timeout, OSError), FileLock(lock_of(stale), timeout=0):
            shutil.rmtree(stale, ignore_errors=True)


def remove(folder: Path) -> int:
    """Remove a cache's own files, and its folder unless it holds something else; return the bytes.

    The manifest goes first: of a removal that is cut off, a folder is left that is seen as damaged.
    """
    freed = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST):
        # Of the link itself, where it is one.
        found = path.lstat()
        if own_file(path.name) and not stat.S_ISDIR(found.st_mode):
            path.unlink()
            freed += found.st_size
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    return freed


def put_in_place(fresh: Path, folder: Path) -> None:
    """Put a complete cache where none is, or a damaged one.

    The files of a damaged one are replaced one by one, and the manifest last: a run that still reads the
    cache finds a file at each name at any moment, the old or the new one, and both hold the same rows.

    Args:
        fresh: The complete cache, on disk.
        folder: Its place. Files in it that are no cache's stay.

    Raises:
        OSError: It cannot be put there.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        fresh.rename(folder)
        sync_folder(folder.parent)
        return
    for path in folder.iterdir():
        if own_file(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif not (fresh / path.name).exists():
                path.unlink()
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == MANIFEST):
        os.replace(path, folder / path.name)
    sync_folder(folder)


def hold(folder: Path) -> int:
    """Have a cache stay, whoever clears caches, until the handle that is returned is closed.

    Raises:
        OSError: There is no such cache, or it was just cleared.
    """
    path = folder / MANIFEST
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Where a file system has no locks, nothing is kept.
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Waiting for another process that has locked %s", path)
                fcntl.flock(handle, fcntl.LOCK_SH)
        if not os.path.samestat(os.fstat(handle), os.stat(path)):
            raise FileNotFoundError(f"{path} is another file now")
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def unread(folder: Path) -> Iterator[bool]:
    """Yield whether no process is reading a cache; none begins to before the context ends."""
    path = folder / MANIFEST
    try:
        # Some file systems lock for one alone only what can be written.
        access = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        handle = os.open(path, access | os.O_NONBLOCK)
    except OSError as error:
        # Without a manifest no run reads it; who may not open it cannot tell.
        yield isinstance(error, (FileNotFoundError, NotADirectoryError))
        return
    try:
        free = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Where there are no locks, nobody can hold one.
            free = error.errno in locks.NO_LOCKS
        yield free
    finally:
        os.close(handle)


def locked(folder: Path, required: bool = True) -> AbstractContextManager[None]:
    """Hold the lock of a cache's folder, waiting for another run that builds it.

    Args:
        folder: The cache's folder.
        required: The config's ``file_locks``.

    Raises:
        OutputError: The lock cannot be made.
    """
    holder = "another run that builds this cache"
    return locks.locked(lock_of(folder), "data_root", holder, required)


def lock_of(folder: Path) -> Path:
    """Return the lock's file of a cache's folder, or of one beside it that is not complete."""
    return folder.with_name(f"{cache_name(folder)}.lock")
