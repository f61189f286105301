"""Training states on disk: each a folder that appears whole, the newest few kept.

A state is ``state-<number>/`` with its files and state.json, which holds their sizes and SHA-256 and its
own. It is written beside, synced, and renamed into place; what a killed process leaves of one is removed
by the next.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.outputs import sync, sync_folder, temporary_name

logger = logging.getLogger(__name__)

FORMAT = 1
NAME = "state.json"

_FOLDER = re.compile(r"state-(\d{8})")
_BLOCK = 1 << 20


class DamagedState(Exception):
    """A state does not hold what was written; the text names the file."""


class TrainingStates:
    """The states of one run. One process at a time uses them.

    Args:
        folder: Where they are; made when the first is written.
        kept: How many of them stay.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self.kept = kept
        # They keep no place of a whole one.
        self._damaged: list[Path] = []

    def __bool__(self) -> bool:
        """Say whether there is any, whole or not."""
        return any(self._newest_first())

    def write(self, fill: Callable[[Path], Mapping[str, Any]]) -> None:
        """Write a state and remove the oldest beyond those that are kept.

        Args:
            fill: Writes the state's files into a folder and returns what else belongs to it, as JSON.

        Raises:
            OSError: If it cannot be written; the older ones stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        newest = next(self._newest_first(), None)
        number = int(newest.name[-8:]) + 1 if newest else 1
        place = self.folder / f"state-{number:08d}"
        fresh = temporary_name(place)
        try:
            fresh.mkdir()
            content = {"format": FORMAT, **fill(fresh)}
            content["files"] = {path.name: _account(path) for path in sorted(fresh.iterdir())}
            content["digest"] = _digest(content)
            (fresh / NAME).write_text(json.dumps(content), encoding="utf-8")
            sync(fresh)
            fresh.rename(place)
            sync_folder(self.folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        for damaged in self._damaged:
            shutil.rmtree(damaged, ignore_errors=True)
        self._damaged.clear()
        for old in list(self._newest_first())[self.kept :]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the folder and content of the newest whole state; warn of damaged ones before it."""
        for folder in self._newest_first():
            try:
                return folder, read(folder)
            except DamagedState as damage:
                logger.warning("The training state %s is damaged and left out: %s", folder, damage)
                self._damaged.append(folder)
        return None

    def clear(self) -> None:
        """Remove all states, and their folder where nothing else is in it and it is no link or mount."""
        with suppress(OSError):
            self._remove_unfinished()
            for folder in self._newest_first():
                shutil.rmtree(folder, ignore_errors=True)
            self.folder.rmdir()

    def _newest_first(self) -> Iterator[Path]:
        if not self.folder.is_dir():
            return
        found = (path for path in self.folder.iterdir() if _FOLDER.fullmatch(path.name))
        yield from sorted(found, reverse=True)

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob("state-*.tmp-*"):
            shutil.rmtree(path, ignore_errors=True)


def read(folder: Path) -> dict[str, Any]:
    """Return what belongs to a state, after a look at every byte of it.

    Raises:
        DamagedState: If a file is absent, cut off or changed.
        AccessError: If the system does not let one be read.
    """
    path = folder / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        check_access(path, error)
        raise DamagedState(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedState(f"{path} is not of format {FORMAT}")
    if content.pop("digest", None) != _digest(content):
        raise DamagedState(f"{path} was changed after it was written")
    for name, said in content["files"].items():
        try:
            found = _account(folder / name)
        except OSError as error:
            check_access(folder / name, error)
            raise DamagedState(f"{folder / name} cannot be read: {error}") from error
        if found != said:
            raise DamagedState(f"{folder / name} is not what was written: {found} against {said}")
    return content


def _account(path: Path) -> dict[str, Any]:
    """Return a file's size and SHA-256."""
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            sha.update(block)
    return {"bytes": path.stat().st_size, "sha256": sha.hexdigest()}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
