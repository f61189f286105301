"""FuxiCTR's log lines, on the console and in a file, without tearing a progress bar."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from fuxictr_stem.errors import OutputError


class _ConsoleHandler(logging.Handler):
    """Write to standard error through tqdm, which lifts its bar for the line.

    A console that is gone, or full, ends no run: the log file has its lines. Nor does a signal's line
    in the middle of another one, which Python refuses.
    """

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, RuntimeError):
            tqdm.write(self.format(record), file=sys.stderr)


class _FileHandler(logging.FileHandler):
    """A log that is full or gone ends no run; the console has its lines."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave the line out."""

    def close(self) -> None:
        """Close the file, whatever of it is not written."""
        with suppress(OSError):
            super().close()


def _add(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("%(asctime)s P%(process)d %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)


def log_to_console() -> None:
    """Log to the console, and to nothing else that was set up before."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.INFO)
    _add(_ConsoleHandler())


def tell(*lines: str) -> None:
    """Print what a command was asked for.

    A reader that has enough, as in ``| head``, does not end the command's work.

    Raises:
        OutputError: Standard output cannot be written.
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
    """Log to a file as well, as long as the context lasts.

    Args:
        path: The file.
        append: Whether it keeps what it has.
    """
    handler = _FileHandler(path, mode="a" if append else "w", encoding="utf-8")
    _add(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
