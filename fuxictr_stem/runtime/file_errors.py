"""System errors while reading a file, distinguished from faults in its content.

A lock, a missing permission or too many open files say nothing about what a file holds: taken for damage,
they would replace what is whole.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from fuxictr_stem.errors import AccessError

# The file is absent, is none, or names offsets that cannot be: its content is not what it must be.
_OF_CONTENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
    | {errno.ENXIO, errno.EINVAL, errno.EFBIG, errno.EOVERFLOW}
)
_ADVICE = {
    errno.EACCES: "Give yourself read permission for it.",
    errno.EPERM: "Give yourself read permission for it.",
    errno.EAGAIN: "Another process has locked it: end that process, or wait for it.",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`).",
    errno.ENFILE: "Close some programs: the whole system has too many open files.",
    errno.ENOMEM: "Free some memory.",
    errno.ESTALE: "Its network file system has lost it: mount that again.",
    errno.EIO: "Check the disk, or the connection to it.",
}
# How HDF5 and Rust's libraries write a system error into a text.
_IN_TEXT = re.compile(r"(?:errno = |\(os error )(\d+)")


def check_access(path: Path, error: BaseException) -> None:
    """Raise an `AccessError` if the system does not let a file be read, not if its content is at fault."""
    number = getattr(error, "errno", None)
    if number is None:
        match = _IN_TEXT.search(str(error))
        number = int(match[1]) if match else None
    if not number or number in _OF_CONTENT:
        return
    raise AccessError(
        f"{path} cannot be read now: {os.strerror(number)}. This says nothing about its content, "
        f"so nothing was changed. {_ADVICE.get(number, 'Remove the cause.')} Then start again."
    ) from error
