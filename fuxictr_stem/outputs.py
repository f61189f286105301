"""Folders and files that are written: proved writable beforehand, replaced whole."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import OutputError


def check_writable(folder: Path, key: str) -> None:
    """Make a folder if need be and prove that files can be written there.

    Args:
        folder: The folder.
        key: The config's key that chooses it, for the message.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{key}: the folder {folder} cannot be written ({error.strerror or error}). Give it write "
            f"permission, or choose another {key}."
        ) from error


def check_appendable(path: Path) -> None:
    """Prove that a line can be appended to a file, without changing it.

    Raises:
        OutputError: If not.
    """
    try:
        # Where there is no file yet, none is left behind: another run may be about to write it.
        if path.exists():
            with path.open("a"):
                pass
        else:
            with tempfile.TemporaryFile(dir=path.resolve().parent):
                pass
    except OSError as error:
        raise OutputError(
            f"The file {path.resolve()} cannot be written: {error.strerror or error}. Change its "
            f"permissions, or run where it can be."
        ) from error


def remove_temporaries(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in a folder."""
    for path in folder.glob("*.tmp-*"):
        pid = path.name.rpartition("-")[2]
        if path.is_file() and pid.isdecimal():
            path.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file; a reader finds the old one or the new one, whole."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
