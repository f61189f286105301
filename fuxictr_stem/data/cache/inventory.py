"""What caches there are, in which state, and what of them can go.

Only folders that have the names which this package gives are looked at, and no link is followed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from filelock import FileLock, Timeout

from fuxictr_stem.data.cache.cache_folder import (
    cache_name,
    is_cache,
    is_cache_file,
    is_ours,
    lock_of,
    remove,
    unread,
)
from fuxictr_stem.data.cache.damage import check, damages
from fuxictr_stem.errors import AccessError, OutputError
from fuxictr_stem.runtime import locks
from fuxictr_stem.runtime.whole_folder import Damaged, OtherFormat

logger = logging.getLogger(__name__)


class State(Enum):
    """What is the matter with a cache."""

    WHOLE = "whole"
    OLD = "old"
    DAMAGED = "damaged"
    UNFINISHED = "unfinished"
    BUILDING = "being built"
    UNKNOWN = "unknown"
    UNREADABLE = "not readable"


USELESS = frozenset({State.OLD, State.DAMAGED, State.UNFINISHED})
"""The states of caches that no run reads again."""


@dataclass(frozen=True)
class Found:
    """A folder of a cache.

    Attributes:
        folder: Where it is.
        state: ``WHOLE`` if the config asks for it; ``OLD`` if it asks for another one; ``UNKNOWN``
            if that cannot be told; ``DAMAGED`` whatever the config asks for; ``UNREADABLE`` if the
            system does not let it be read; ``UNFINISHED`` if a killed build left it; ``BUILDING`` if
            a run holds its lock.
        why: The reason, where the state needs one.
        rows: Rows by split; empty where they cannot be read.
        size: Bytes of its files.
        changed: When it was made, in seconds since 1970.
        identity: Tells it from a folder that takes its place later.
    """

    folder: Path
    state: State
    why: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    changed: float = 0.0
    identity: tuple[int, int] = (0, 0)

    @property
    def dataset_id(self) -> str:
        """The dataset's name."""
        return self.folder.parent.name

    @property
    def fingerprint(self) -> str:
        """The cache's name, that of the one it was to become if it is unfinished."""
        return cache_name(self.folder)


def find(roots: Iterable[Path], asked: Mapping[str, set[str] | str]) -> Iterator[Found]:
    """Find the caches of some folders, sorted by folder, dataset and name.

    Args:
        roots: The folders, each a ``data_root``; those that are not there are passed over.
        asked: By dataset: the names of the caches that runs would open, or why that cannot be told.

    Raises:
        OutputError: A folder cannot be read.
    """
    for root in dict.fromkeys(Path(os.path.realpath(root)) for root in roots):
        for home in _folders(root):
            for folder in _folders(home):
                # Builds go on meanwhile: a folder may be renamed or removed.
                with suppress(FileNotFoundError):
                    if is_ours(folder.name):
                        yield _look(folder, asked)


def verify(found: Found) -> tuple[Found, list[str]]:
    """Read every byte of a cache.

    Args:
        found: The cache, as it was found.

    Returns:
        The cache, its state ``DAMAGED`` or ``UNREADABLE`` if need be, and a text for each damaged file.
    """
    unfinished = found.state in (State.UNFINISHED, State.BUILDING) or not found.rows
    if unfinished and found.state is not State.DAMAGED:
        return found, []
    try:
        texts = damages(found.folder)
    except OtherFormat:
        return found, []
    except AccessError as error:
        return replace(found, state=State.UNREADABLE, why=str(error)), []
    if texts:
        found = replace(found, state=State.DAMAGED, why=texts[0])
    return found, texts


def clear(found: Found, dry_run: bool = False) -> int | None:
    """Remove a cache; return the bytes, or None if it is in use or no longer what was found.

    Args:
        found: The cache, as it was found.
        dry_run: Whether to remove nothing.

    Raises:
        OutputError: It cannot be removed.
    """
    if dry_run:
        with unread(found.folder) as free:
            return found.size if free and not locks.is_held(lock_of(found.folder)) else None
    if not locks.has_locks(lock_of(found.folder)):
        raise OutputError(
            "its file system has no locks, so it cannot be told whether a run uses it; delete the folder "
            "when none does"
        )
    try:
        with FileLock(lock_of(found.folder), timeout=0), unread(found.folder) as free:
            if not free or _identity(found.folder) != found.identity:
                return None
            freed = remove(found.folder)
    except Timeout:
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(
            f"it cannot be removed ({error}); that needs write permission for it and its lock"
        ) from error
    if found.folder.exists() and not freed:
        raise OutputError("it holds no file of a cache")
    if found.folder.exists():
        logger.warning("%s stays: it holds files that are no cache's.", found.folder)
    return freed


def _look(folder: Path, asked: Mapping[str, set[str] | str]) -> Found:
    try:
        size = sum(path.lstat().st_size for path in folder.iterdir())
    except FileNotFoundError:
        raise
    except OSError as error:
        return Found(folder, State.UNREADABLE, f"it cannot be read ({error.strerror})")
    found = Found(
        folder=folder,
        state=State.UNFINISHED,
        size=size,
        changed=folder.stat().st_mtime,
        identity=_identity(folder),
    )
    if locks.is_held(lock_of(folder)):
        return replace(found, state=State.BUILDING, why="a run holds its lock")
    if not is_cache(folder.name):
        return replace(found, why="a build that was killed left it")
    if not any(is_cache_file(path.name) for path in folder.iterdir()):
        return replace(found, state=State.UNKNOWN, why="it holds no file of a cache")
    try:
        rows = check(folder)["rows"]
    except OtherFormat as error:
        return replace(found, state=State.OLD, why=str(error))
    except Damaged as error:
        return replace(found, state=State.DAMAGED, why=str(error))
    except AccessError as error:
        return replace(found, state=State.UNREADABLE, why=str(error))
    state, why = _judge(found, asked.get(found.dataset_id))
    return replace(found, rows=rows, state=state, why=why)


def _judge(found: Found, asked: set[str] | str | None) -> tuple[State, str]:
    if asked is None or isinstance(asked, str):
        return State.UNKNOWN, asked or "its dataset is not in the config"
    if found.fingerprint in asked:
        return State.WHOLE, ""
    return State.OLD, "the config or the source files have changed since"


def _folders(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
        return [path for path in inside if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"data_root: the folder {folder} cannot be read ({error}).") from error


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.lstat()
    return found.st_ino, found.st_mtime_ns
