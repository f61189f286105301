"""Memory of this machine that other runs of the user have planned to take, but not taken yet.

Runs that begin at once each see the same memory free. So each leaves a note of its plan, locked as long as
it runs, and plans with what the notes of the others leave. Where no notes can be left, as on a file system
without locks, runs do not know of one another.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

FOLDER = Path(tempfile.gettempdir()) / f"fuxictr_stem-{os.getuid()}"


class Planned:
    """The plan of this process, which other runs respect until it is closed."""

    def __init__(self) -> None:
        self._resident = _resident_bytes(os.getpid())
        self._file: TextIO | None = None

    @contextmanager
    def turn(self) -> Iterator[int]:
        """Let no other run plan meanwhile; yield the bytes that others will still take."""
        with ExitStack() as stack:
            elsewhere = 0
            with suppress(OSError):
                elsewhere = self._of_others(stack)
            yield elsewhere

    def _of_others(self, stack: ExitStack) -> int:
        FOLDER.mkdir(mode=0o700, exist_ok=True)
        status = FOLDER.lstat()
        # Anybody can make a folder of that name there.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return 0
        lock = stack.enter_context((FOLDER / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        ours = None if self._file is None else Path(self._file.name)
        return sum(_still_to_come(path) for path in FOLDER.glob("*.json") if path != ours)

    def write(self, count: int) -> None:
        """Note that this process takes some bytes in all from now on."""
        note = {"pid": os.getpid(), "bytes": count, "resident": self._resident}
        with suppress(OSError):
            if self._file is None:
                path = FOLDER / f"{os.getpid()}-{secrets.token_hex(4)}.json"
                self._file = path.open("w", encoding="utf-8")
                fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.seek(0)
            self._file.truncate()
            self._file.write(json.dumps(note))
            self._file.flush()

    def close(self) -> None:
        """Forget the plan."""
        if self._file is not None:
            with suppress(OSError):
                os.unlink(self._file.name)
            self._file.close()
            self._file = None


def _still_to_come(path: Path) -> int:
    """Return what a run will still take by its note; remove the note of one that is dead."""
    try:
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                note = json.load(file)
                taken = _resident_bytes(note["pid"]) - note["resident"]
                return max(note["bytes"] - max(taken, 0), 0)
            path.unlink(missing_ok=True)
    except (OSError, ValueError, TypeError, KeyError):
        # It has just ended, or is about to write.
        pass
    return 0


def _resident_bytes(pid: int) -> int:
    """Return the memory that a process takes now, or 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
