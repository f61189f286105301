"""The folder of a cache: its name and lock, who reads it, putting it in place and removing it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.data.encoding.encoder_files import FILES
from fuxictr_stem.runtime import locks
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.outputs import final_name, sync, sync_folder, temporaries
from fuxictr_stem.runtime.whole_folder import Damaged, put_in_place

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"

_NAME = re.compile(r"[0-9a-f]{16}")
_FILES = re.compile(
    rf"manifest\.json|feature_(map|vocab)\.json|(train|valid|test)\.h5|pretrained_.+|{FILES.pattern}",
    re.DOTALL,
)


def is_cache(name: str) -> bool:
    """Say whether a folder's name is that of a cache."""
    return _NAME.fullmatch(name) is not None


def is_ours(name: str) -> bool:
    """Say whether a folder's name is that of a cache, or of one that is not complete."""
    return is_cache(final_name(name))


def is_cache_file(name: str) -> bool:
    """Say whether a file's name is one that a cache's folder may have."""
    return _FILES.fullmatch(name) is not None and Path(name).name == name


def remove_leftovers(folder: Path) -> None:
    """Remove what killed builds left next to a cache, whose lock is held: of this one and others.

    A folder whose lock is free has no builder any more. The user's own files may lie here, too.
    """
    for leftover in temporaries(folder.parent):
        lock = lock_of(leftover)
        if not is_ours(leftover.name):
            continue
        if lock == lock_of(folder):
            shutil.rmtree(leftover, ignore_errors=True)
        elif locks.has_locks(lock):
            with suppress(Timeout, OSError), FileLock(lock, timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)


def remove(folder: Path) -> int:
    """Remove a cache's own files, and its folder unless it holds something else; return the bytes.

    The manifest goes first: of a removal that is cut off, a folder is left that is seen as damaged.
    """
    freed = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST):
        # Of the link itself, where it is one.
        status = path.lstat()
        if is_cache_file(path.name) and not stat.S_ISDIR(status.st_mode):
            path.unlink()
            freed += status.st_size
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    return freed


def replace(fresh: Path, folder: Path) -> None:
    """Put a complete cache where none is, or a damaged one.

    The files of a damaged one are replaced one by one, and the manifest last: a run that still reads the
    cache finds a file at each name at any moment, the old or the new one, and both hold the same rows.
    Files that are no cache's stay.

    Raises:
        OSError: It cannot be put there.
    """
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        put_in_place(fresh, folder)
        return
    sync(fresh)
    for path in folder.iterdir():
        if is_cache_file(path.name):
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
        Damaged: It has no manifest, or was just cleared.
        AccessError: The system does not let it be read.
    """
    path = folder / MANIFEST
    try:
        with ExitStack() as stack:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, handle)
            # Where a file system has no locks, nothing is kept.
            with suppress(OSError):
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    logger.info("Waiting for another process that has locked %s", path)
                    fcntl.flock(handle, fcntl.LOCK_SH)
            if not os.path.samestat(os.fstat(handle), os.stat(path)):
                raise FileNotFoundError(f"{path} is another file now")
            stack.pop_all()
            return handle
    except OSError as error:
        check_access(path, error)
        raise Damaged(str(error)) from error


@contextmanager
def unread(folder: Path) -> Iterator[bool]:
    """Yield whether no process is reading a cache; none begins to before the context ends."""
    path = folder / MANIFEST
    try:
        # Some file systems give an exclusive lock only on what can be written.
        access = os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY
        handle = os.open(path, access | os.O_NONBLOCK)
    except OSError as error:
        # Without a manifest no run reads it; without permission to open it this is unknown.
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


def lock_of(folder: Path) -> Path:
    """Return the lock's file of a cache's folder, or of one next to it that is not complete."""
    return folder.with_name(f"{final_name(folder.name)}.lock")
