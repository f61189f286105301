"""What the system refuses is told apart from what a file holds."""

import errno
from pathlib import Path

import pytest

from fuxictr_stem.errors import AccessError
from fuxictr_stem.runtime.file_errors import check_access


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        OSError("Unable to synchronously open file (truncated file: eof = 3)"),
        KeyError("Unable to open object (bad heap)"),
        OSError("file read failed: errno = 0, error message = 'Success'"),
        ValueError("no JSON"),
    ],
)
def test_what_is_said_of_the_content_is_left_to_the_caller(error):
    check_access(Path("x"), error)


@pytest.mark.parametrize(
    "text", ["file read failed: errno = 5, error", "Permission denied (os error 13)"]
)
def test_errors_of_the_system_are_seen_in_libraries_texts(text):
    with pytest.raises(AccessError, match="^x cannot be read now"):
        check_access(Path("x"), RuntimeError(text))
