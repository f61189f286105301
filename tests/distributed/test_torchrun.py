"""What `torchrun` does itself: it starts ranks again, hands signals on, and ends them when one fails."""

import os

import pytest

from tests.support.ranks import Forked, Torchrun, outcome

pytestmark = pytest.mark.slow

HOME = "checkpoints/toy/toy_test"


@pytest.fixture
def torchrun(project, tmp_path):
    project.model |= {"epochs": 12, "state_steps": 7, "early_stop_patience": 99}
    project.write()
    return Torchrun(tmp_path)


@pytest.mark.slow
def test_a_mistake_on_one_rank_is_one_message(torchrun):
    """Also where torchrun starts the ranks again."""
    process = torchrun.start(WRONG_RANK="1", restarts=1)
    said = torchrun.end(process)
    assert process.returncode == 1  # torchrun's own; the ranks end with 2
    assert said.count("error: ") == said.count("The file of this rank is not there.") == 1
    assert "exitcode  : 2" in said


def test_a_killed_and_stopped_run_goes_on_to_the_same_bits(project, torchrun):
    """A kill, after which torchrun starts the ranks again; then SIGTERM to torchrun."""
    folder, forked = torchrun.folder, Forked(torchrun.folder)
    forked.end(forked.start())
    weights = folder / HOME / "model.safetensors"
    expected = outcome(project), weights.read_bytes()
    os.rename(folder / "checkpoints", folder / "unbroken")

    process = torchrun.start("--resume", restarts=2, AT_STEP="33 1 SIGKILL, 5 1 SIGTERM")
    said = torchrun.end(process)
    assert said.count("error: ") == said.count("--resume: continuing from") == 1
    assert "error: Rank 1 of 2 (counted from 0) has ended" in said
    assert said.count("Stopped by SIGTERM after step") == said.count("The state is saved") == 1
    assert list((folder / HOME / "states").glob("state-*"))
    run = forked.start("--resume")
    said = forked.end(run)
    assert run.returncode == 0, said
    assert (outcome(project), weights.read_bytes()) == expected
