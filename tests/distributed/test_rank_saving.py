"""Training states of several ranks: a killed run goes on with as many ranks, with others, or alone."""

import os
import shutil
import signal

import pytest

from tests.support.ranks import close, ends, outcome

pytestmark = pytest.mark.slow

HOME = "checkpoints/toy/toy_test"
KILLED = -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit_with_as_many_ranks(project, forked):
    project.model["net_dropout"] = 0.2
    project.write()
    ends(forked, [0, 0])
    weights = forked.folder / HOME / "model.safetensors"
    expected = outcome(project), weights.read_bytes()
    os.rename(forked.folder / "checkpoints", forked.folder / "unbroken")
    # The first rank, which writes all files; of the other, the next test.
    said = ends(forked, [KILLED, 2], AT_STEP="33 0 SIGKILL")
    assert said.count("error: ") == 1
    assert "error: Rank 0 of 2 (counted from 0) has ended" in said
    assert not (forked.folder / HOME / "result.json").exists()
    said = ends(forked, [0, 0], "--resume")
    assert said.count("--resume: continuing from") == 1
    assert (outcome(project), weights.read_bytes()) == expected
    assert not (forked.folder / HOME / "states").exists()
    said = ends(forked, [0, 0], "--resume")
    assert said.count("this run is finished") == 1


def test_a_killed_run_goes_on_alone_or_with_other_ranks(project, forked):
    assert project.run() == 0
    expected = outcome(project)
    os.rename(project.folder / "checkpoints", project.folder / "unbroken")

    said = ends(forked, [2, KILLED], AT_STEP="33 1 SIGKILL")
    assert "error: Rank 1 of 2 (counted from 0) has ended" in said
    shutil.copytree(project.folder / "checkpoints", project.folder / "killed")
    assert project.run("--resume") == 0
    close(outcome(project), expected)
    os.rename(project.folder / "checkpoints", project.folder / "alone")

    os.rename(project.folder / "killed", project.folder / "checkpoints")
    ends(forked, [0, 0, 0], "--resume", ranks=3)
    close(outcome(project), expected)
