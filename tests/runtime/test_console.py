"""A console that is gone or full: no traceback, no work left undone, no run lost."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.project import result_of

pytestmark = pytest.mark.slow

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


def test_a_reader_that_has_enough(project):
    project.write()
    with place("gone") as stdout:
        listed = command("list", stdout=stdout, stderr=subprocess.PIPE)
    assert (listed.returncode, listed.stderr) == (0, b"")


def test_an_output_without_room_is_told(project):
    project.write()
    with place("full") as stdout:
        listed = command("list", stdout=stdout, stderr=subprocess.PIPE)
    assert listed.returncode == 2
    assert listed.stderr == b"error: Standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("kind", ["gone", "full"])
def test_a_run_outlives_its_console(project, kind):
    project.write()
    with place(kind) as number:
        ended = command("run", "--expid", "toy_test", stdout=number, stderr=number)
    assert ended.returncode == 0
    assert "test" in result_of(project)
    log = project.folder / "checkpoints" / "toy" / "toy_test.log"
    assert "Result: " in log.read_text()


def test_a_mistake_has_its_exit_code_without_a_console(project):
    project.write()
    with place("gone") as number:
        ended = command("run", "--expid", "none", stdout=number, stderr=number)
    assert ended.returncode == 2


PRESSED_AGAIN = """
import atexit, os, signal
from fuxictr_stem import cli, experiment
from fuxictr_stem.benchmark import run_benchmark as benchmark
from fuxictr_stem.runtime import guarded

def press(*args, **more):
    os.kill(os.getpid(), signal.SIGINT)

atexit.register(press)
experiment.run_experiment = benchmark.run_benchmark = press
if {early}:
    say = guarded._complain
    guarded._complain = lambda text: (press(), say(text))
cli.command_line({arguments})
"""
RUN, BENCHMARK = ["run", "--expid", "x"], ["benchmark", "--config", "x.yaml", "--out", "x"]


@pytest.mark.parametrize(
    ("arguments", "early", "said"),
    [
        (RUN, False, "Stopped by Ctrl-C. The same command with --resume continues a run.\n"),
        (BENCHMARK, False, "Stopped by Ctrl-C. The same command continues it.\n"),
        (RUN, True, ""),
    ],
)
def test_ctrl_c_pressed_again_adds_no_traceback(tmp_path, arguments, early, said):
    """After the message, while Python ends; or before it, which then is left out."""
    code = PRESSED_AGAIN.format(arguments=arguments, early=early)
    done = process("-c", code, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, said)
