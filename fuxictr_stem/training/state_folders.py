"""Training states on disk: folders that appear whole, the newest few kept.

A state is ``state-<number>/``: its files, and state.json, the account of them (`runtime.whole_folder`).
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fuxictr_stem.runtime import whole_folder
from fuxictr_stem.runtime.outputs import remove_temporaries

logger = logging.getLogger(__name__)

FORMAT = 1
NAME = "state.json"

_FOLDER = re.compile(r"state-(\d{8})")


class TrainingStates:
    """The states of one run, ``kept`` of them, in a folder. One process at a time uses them."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self.kept = kept
        # They take no place of a whole one.
        self._damaged: list[Path] = []

    def __bool__(self) -> bool:
        """Say whether there is any, whole or not."""
        return bool(self._newest_first())

    def write(self, fill: Callable[[Path], Mapping[str, Any]]) -> None:
        """Write a state and remove the oldest beyond those kept; where it fails, all older ones stay.

        ``fill`` writes the state's files into a folder and returns what else belongs to it, as JSON.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_temporaries(self.folder)
        newest = next(iter(self._newest_first()), None)
        number = int(newest.name[-8:]) + 1 if newest else 1
        place = self.folder / f"state-{number:08d}"
        with whole_folder.fresh_folder(place) as fresh:
            whole_folder.write_account(fresh / NAME, {"format": FORMAT, **fill(fresh)})
            whole_folder.put_in_place(fresh, place)
        _remove(self._damaged)
        self._damaged.clear()
        _remove(self._newest_first()[self.kept :])

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the folder and content of the newest whole state; warn of damaged ones before it."""
        for folder in self._newest_first():
            try:
                return folder, read(folder)
            except whole_folder.Damaged as damage:
                logger.warning("The training state %s is damaged and skipped: %s", folder, damage)
                self._damaged.append(folder)
        return None

    def newest_account(self) -> dict[str, Any] | None:
        """Return the content of the newest state whose account is whole, whatever its other files are."""
        for folder in self._newest_first():
            with suppress(whole_folder.Damaged):
                return whole_folder.read_account(folder / NAME, FORMAT)
        return None

    def clear(self) -> None:
        """Remove all states, and their folder where nothing else is in it and it is no link or mount."""
        with suppress(OSError):
            remove_temporaries(self.folder)
            _remove(self._newest_first())
            self.folder.rmdir()

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        states = (path for path in self.folder.iterdir() if _FOLDER.fullmatch(path.name))
        return sorted(states, reverse=True)


def read(folder: Path) -> dict[str, Any]:
    """Return what belongs to a state, after a look at every byte; Damaged if a file is not as written."""
    content = whole_folder.read_account(folder / NAME, FORMAT)
    whole_folder.check_files(folder, content["files"])
    return content


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
