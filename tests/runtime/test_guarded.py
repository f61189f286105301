"""How a command ends: one message and an exit code, never a traceback."""

import pytest

from tests.support.consoles import command, place, process

pytestmark = pytest.mark.slow


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
