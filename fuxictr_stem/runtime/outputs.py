"""Folders and files that are written: proved writable beforehand, replaced whole."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import OutputError, UserError
from fuxictr_stem.runtime.text_table import format_bytes

_TEMPORARY = re.compile(r"(.+)\.tmp-(\d+)-[0-9a-f]{8}", re.DOTALL)


def check_writable(folder: Path, key: str) -> None:
    """Make a folder if need be and prove that files can be written there.

    The `OutputError` names the config's key that chooses the folder.
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


def check_new_folder(folder: Path, key: str) -> None:
    """Prove that a folder can be put where none is yet, or an empty one, or raise `OutputError`.

    What a killed process left there is removed.
    """
    empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
    if os.path.lexists(folder) and not empty:
        raise OutputError(
            f"{key} {folder}: already exists. Choose a new folder, or remove that one."
        )
    place = folder.absolute()
    check_writable(place.parent, key)
    remove_leftovers(place)


def check_appendable(path: Path) -> None:
    """Prove that a line can be appended to a file, without changing it, or raise `OutputError`."""
    try:
        target = Path(os.path.realpath(path))
        # Where there is no file yet, none is left behind: another run may be about to write it.
        if not os.path.lexists(target):
            with tempfile.TemporaryFile(dir=target.parent):
                pass
        elif stat.S_ISFIFO(target.stat().st_mode):
            raise OSError("it is a pipe")
        else:
            with target.open("a"):
                pass
    except OSError as error:
        raise OutputError(
            f"The file {os.path.abspath(path)} cannot be written: {error.strerror or error}. "
            "Change its permissions, or run in another folder."
        ) from error


def check_space(folder: Path, needed: int, what: str, advice: str) -> None:
    """Compare the bytes that something needs with those that are free, or raise `OutputError`."""
    above = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise OutputError(
            f"{folder}: {what} about {format_bytes(needed)}, and {format_bytes(free)} are free. Make room, "
            f"{advice}."
        )


def temporary_name(path: Path) -> Path:
    """Return a new name next to a file or folder, for one that is not complete yet."""
    return path.with_name(f"{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


def final_name(name: str) -> str:
    """Return the name of what a temporary file or folder was to become; another name as it is.

    Example:
        >>> final_name("result.json.tmp-4711-0badcafe"), final_name("result.json")
        ('result.json', 'result.json')
    """
    temporary = _TEMPORARY.fullmatch(name)
    return temporary[1] if temporary else name


def temporaries(folder: Path) -> list[Path]:
    """Return what killed processes left half-written in a folder, or others are writing there now."""
    return [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]


@contextmanager
def replacing(path: Path, *errors: type[Exception]) -> Iterator[Path]:
    """Yield a temporary name; what is written there then takes a file's place, whole and on disk.

    The name is in a folder of its own, because libraries have temporary files, too: safetensors leaves one
    next to what it writes when it is killed. ``errors`` are what a library raises, besides OSError, when
    it cannot write; an `OutputError` then leaves the file as it was.
    """
    folder = temporary_name(path)
    temporary = folder / path.name
    failures: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        folder.mkdir()
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except UserError:
        raise
    except failures as error:
        raise OutputError(
            f"The file {path} cannot be written: {error}. Free some space there, or change its "
            "permissions; what was there before is unchanged."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_file(path: Path) -> None:
    """Remove a file, if there is one, or raise `OutputError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be replaced ({error.strerror}). Remove it, or choose another model_root."
        ) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; nothing else may write there."""
    for path in temporaries(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes of this machine left of a file or folder that others may write, too."""
    # Names may be written, but not listed, in a folder that many share.
    with suppress(PermissionError):
        for leftover in temporaries(path.parent):
            match = _TEMPORARY.fullmatch(leftover.name)
            if match is not None and match[1] == path.name and not _is_running(int(match[2])):
                shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, as `write_text` does."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, or raise `OutputError`; a reader finds the old one or the new one, whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def sync_file(path: Path) -> None:
    """Have the content of a file on disk, and readable by whoever may read its new folder."""
    # safetensors does not ask the umask. Some file systems cannot change permissions.
    with suppress(PermissionError):
        path.chmod(path.parent.stat().st_mode & 0o666)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Have the files of a folder on disk before its name says that it is complete."""
    for path in folder.iterdir():
        if path.is_dir():
            sync(path)
        else:
            sync_file(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk."""
    # Some network file systems cannot sync a folder; a rename is still atomic.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
