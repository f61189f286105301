"""A console that is gone or full: no work left undone, no run lost."""

import subprocess

import pytest

from tests.support.consoles import command, place
from tests.support.project import result_of

pytestmark = pytest.mark.slow


def test_a_reader_that_has_enough(project):
    project.write()
    with place("gone") as stdout:
        listed = command("list", stdout=stdout, stderr=subprocess.PIPE)
    assert (listed.returncode, listed.stderr) == (0, b"")


def test_an_output_without_room_is_reported(project):
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
