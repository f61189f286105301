"""Commands in a process of their own, with a console that is gone or full."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

FULL = "/dev/full"


@contextmanager
def place(kind):
    """Give a file to write to: a pipe that nobody reads, or a disk without room."""
    if kind == "full" and not os.path.exists(FULL):
        pytest.skip("no device that is always full here")
    if kind == "full":
        number = os.open(FULL, os.O_WRONLY)
    else:
        read, number = os.pipe()
        os.close(read)
    try:
        yield number
    finally:
        os.close(number)


def process(*args, **more):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, *args], env=environment, check=False, **more)


def command(*args, **streams):
    return process("-m", "fuxictr_stem", *args, **streams)
