"""Which caches there are, in which state, and which of them can go.

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
    """What a cache is to runs now."""

    WHOLE = "whole"  # the config asks for it
    OLD = "old"  # the config asks for another one
    DAMAGED = "damaged"  # whatever the config asks for
    UNFINISHED = "unfinished"  # a killed build left it
    BUILDING = "being built"  # a run holds its lock
    UNKNOWN = "unknown"  # nothing says whether the config asks for it
    UNREADABLE = "not readable"  # the system does not let it be read


USELESS = frozenset({State.OLD, State.DAMAGED, State.UNFINISHED})
"""The states of caches that no run reads again."""


@dataclass(frozen=True)
class FoundCache:
    """A folder of a cache."""

    folder: Path  # where it is
    state: State
    why: str = ""  # the reason, where the state needs one
    rows: Mapping[str, int] = field(default_factory=dict)  # by split; empty if they cannot be read
    size: int = 0  # bytes of its files
    changed: float = 0.0  # when it was made, in seconds since 1970
    identity: tuple[int, int] = (0, 0)  # distinguishes it from a folder that takes its place later

    @property
    def dataset_id(self) -> str:
        """The dataset's name."""
        return self.folder.parent.name


def find(roots: Iterable[Path], expected: Mapping[str, set[str] | str]) -> Iterator[FoundCache]:
    """Find the caches of some ``data_root`` folders that exist, sorted by folder, dataset and name.

    ``expected`` are, by dataset, the names of the caches that runs would open, or why that is
    unknown.

    Raises:
        OutputError: A folder cannot be read.
    """
    for root in dict.fromkeys(Path(os.path.realpath(root)) for root in roots):
        for home in _folders(root):
            for folder in _folders(home):
                # Builds continue meanwhile: a folder may be renamed or removed.
                with suppress(FileNotFoundError):
                    if is_ours(folder.name):
                        yield _inspect(folder, expected.get(home.name))


def verify(cache: FoundCache) -> tuple[FoundCache, list[str]]:
    """Read every byte of a cache; return it, now known as damaged perhaps, and a text per damaged file."""
    unfinished = cache.state in (State.UNFINISHED, State.BUILDING) or not cache.rows
    if unfinished and cache.state is not State.DAMAGED:
        return cache, []
    logger.info("Reading %s", cache.folder)
    try:
        texts = damages(cache.folder)
    except OtherFormat:
        return cache, []
    except AccessError as error:
        return replace(cache, state=State.UNREADABLE, why=str(error)), []
    if texts:
        cache = replace(cache, state=State.DAMAGED, why=texts[0])
    return cache, texts


def clear(cache: FoundCache, dry_run: bool = False) -> int | None:
    """Remove a cache; return the bytes, or None if it is in use or no longer what was found.

    Raises:
        OutputError: It cannot be removed.
    """
    folder, lock = cache.folder, lock_of(cache.folder)
    if dry_run:
        with unread(folder) as free:
            return cache.size if free and not locks.is_held(lock) else None
    if not locks.has_locks(lock):
        raise OutputError(
            "its file system has no locks, so a run may be using it; delete the folder yourself "
            "when none does"
        )
    try:
        with FileLock(lock, timeout=0), unread(folder) as free:
            if not free or _identity(folder) != cache.identity:
                return None
            freed = remove(folder)
    except (Timeout, FileNotFoundError):
        return None
    except OSError as error:
        raise OutputError(
            f"it cannot be removed ({error}); that needs write permission for it and its lock"
        ) from error
    if folder.exists() and not freed:
        raise OutputError("it holds no cache files")
    if folder.exists():
        logger.warning("%s was kept: it holds files that do not belong to a cache.", folder)
    return freed


def _inspect(folder: Path, expected: set[str] | str | None) -> FoundCache:
    try:
        # First, so that a cache that is rebuilt meanwhile is not taken for what is judged here.
        identity, changed = _identity(folder), folder.stat().st_mtime
        files = {path.name: path.lstat().st_size for path in folder.iterdir()}
    except FileNotFoundError:
        raise
    except OSError as error:
        return FoundCache(folder, State.UNREADABLE, f"it cannot be read ({error.strerror})")
    state, why, rows = _state(folder, files, expected)
    return FoundCache(folder, state, why, rows, sum(files.values()), changed, identity)


def _state(
    folder: Path, files: Iterable[str], expected: set[str] | str | None
) -> tuple[State, str, dict[str, int]]:
    """Return a cache's state, the reason, and its rows where they can be read."""
    if locks.is_held(lock_of(folder)):
        return State.BUILDING, "a run holds its lock", {}
    if not is_cache(folder.name):
        return State.UNFINISHED, "a build that was killed left it", {}
    if not any(map(is_cache_file, files)):
        return State.UNKNOWN, "it holds no file of a cache", {}
    try:
        rows = check(folder).rows
    except (Damaged, AccessError) as error:
        kinds = {OtherFormat: State.OLD, AccessError: State.UNREADABLE}
        return kinds.get(type(error), State.DAMAGED), str(error), {}
    if expected is None or isinstance(expected, str):
        return State.UNKNOWN, expected or "its dataset is not in the config", rows
    if folder.name in expected:
        return State.WHOLE, "", rows
    return State.OLD, "the config or the source files have changed since", rows


def _folders(folder: Path) -> list[Path]:
    try:
        return [
            path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"data_root: the folder {folder} cannot be read ({error}).") from error


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.lstat()
    return status.st_ino, status.st_mtime_ns
