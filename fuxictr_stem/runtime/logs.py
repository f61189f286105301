"""Log lines: what a reader follows on the console, everything in a run's log file.

Our `DEBUG` lines and FuxiCTR's (a line per column, "Load feature_map") go to the file only.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from fuxictr_stem.errors import OutputError

# FuxiCTR logs by the root logger; these modules of it hold its training loop.
_TRAINING_LOOP = ("rank_model", "multitask_model")


class _ConsoleHandler(logging.Handler):
    """Write to standard error through tqdm, which lifts its bar for the line.

    A console that is gone, or full, ends no run: the log file has its lines. Nor does a signal's line
    in the middle of another one, which Python rejects.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, RuntimeError):
            tqdm.write(self.format(record), file=sys.stderr)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep warnings, our lines, and those of FuxiCTR's training loop."""
        is_ours = record.name.startswith("fuxictr_stem.") or record.module in _TRAINING_LOOP
        return record.levelno >= logging.WARNING or is_ours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: when, what, and how bad if it is more than a note."""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        return f"{datetime.now():%H:%M:%S} {level}{super().format(record)}"


class _FileHandler(logging.FileHandler):
    """A log that is full or gone ends no run; the console has its lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave the line out."""

    def close(self) -> None:
        """Close the file, whatever of it is not written."""
        with suppress(OSError):
            super().close()


def log_to_console() -> None:
    """Log to the console, and to nothing else that was set up before."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.INFO)
    root.addHandler(_ConsoleHandler(logging.INFO))


@contextmanager
def shown() -> Iterator[None]:
    """Have our lines seen as long as the context lasts, and leave logging as it was.

    Where no logging is set up, they go to the console; else to the handlers that are there, without
    our `DEBUG` lines.
    """
    root, ours = logging.getLogger(), logging.getLogger("fuxictr_stem")
    levels, handlers = (root.level, ours.level), root.handlers[:]
    console = _ConsoleHandler(logging.INFO)
    if not handlers:
        root.addHandler(console)
        root.setLevel(logging.INFO)
    elif not ours.isEnabledFor(logging.INFO):
        ours.setLevel(logging.INFO)
    for handler in handlers:
        handler.addFilter(_is_no_detail)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_no_detail)
        root.removeHandler(console)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def _is_no_detail(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO or not record.name.startswith("fuxictr_stem.")


def tell(*lines: str) -> None:
    """Print what a command was asked for, or raise `OutputError`.

    A reader that has enough, as in ``| head``, does not end the command's work.
    """
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        # What is left in the buffer goes nowhere, or Python would fail on it at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"Standard output cannot be written: {error.strerror}.") from error


@contextmanager
def log_to_file(path: Path, append: bool = False) -> Iterator[None]:
    """Log everything to a file as well, as long as the context lasts; `append` keeps what the file has."""
    handler = _FileHandler(path, mode="a" if append else "w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s P%(process)d %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    ours = logging.getLogger("fuxictr_stem")
    level = ours.level
    if logging.getLogger().isEnabledFor(logging.INFO):
        ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        ours.setLevel(level)
        logging.getLogger().removeHandler(handler)
        handler.close()
