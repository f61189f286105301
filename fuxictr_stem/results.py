"""What a run reports beside its metrics: FuxiCTR's line in a csv file, versions, memory."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from fuxictr.utils import print_to_list

from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.runtime.file_errors import check_access


def append_csv_line(
    path: Path, expid: str, dataset_id: str, valid: dict[str, float], test: dict[str, float]
) -> None:
    """Append FuxiCTR's results line: whole or not at all, also when several runs append at once.

    Raises:
        OutputError: The line cannot be written; the file is as it was.
    """
    line = (
        f" {datetime.now():%Y%m%d-%H%M%S},[command] python {' '.join(sys.argv)},[exp_id] {expid},"
        f"[dataset_id] {dataset_id},[train] N.A.,[val] {print_to_list(valid)},"
        f"[test] {print_to_list(test)}\n"
    )
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # Where a file system has no locks, the one write of O_APPEND still keeps lines apart.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # An argument that is no UTF-8 came in by surrogates.
            _append(handle, line.encode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"The file {path} did not take the line of {expid} ({error}): {line.strip()}\n"
            "Free some space there; with --resume the run goes on to write it."
        ) from error


def _append(handle: int, line: bytes) -> None:
    """Append a line to an open file; leave nothing of it where the disk gets full."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        # A killed run left the beginning of a line.
        line = b"\n" + line
    written = 0
    try:
        while written < len(line):
            written += os.write(handle, line[written:])
        os.fsync(handle)
    except OSError:
        if written and os.fstat(handle).st_size == size + written:
            os.ftruncate(handle, size)
        raise


_NEEDED = {"dataset_id": str, "valid": dict, "test": dict, "stand_in": bool, "settings": dict}


def read(folder: Path) -> dict[str, Any] | None:
    """Return a finished run's ``result.json``, or None where there is none."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(found[key], kind) for key, kind in _NEEDED.items()):
            raise ValueError("it has other values")
        return dict(found)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        check_access(path, error)
        raise DataError(
            f"{path} is not the whole result of a run ({type(error).__name__}: {error}). Remove it, and "
            f"run again with --resume."
        ) from error
