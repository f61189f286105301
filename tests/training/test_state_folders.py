"""The folders of training states: damaged ones are found, as many are kept as asked for."""

import errno
import os
from pathlib import Path

import pytest

from fuxictr_stem.errors import AccessError
from fuxictr_stem.training.state_folders import NAME, TrainingStates, read
from tests.support.crashes import Crash
from tests.support.kills import spoil

pytestmark = pytest.mark.slow

STATE_FILES = (NAME, "weights.safetensors", "tensors.safetensors", "best_weights")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "delete"])
@pytest.mark.parametrize("file", STATE_FILES)
def test_a_damaged_state_is_found_and_the_one_before_taken(toy, file, damage, capfd):
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    newest, _ = broken.states.newest()
    spoil(newest / file, damage)
    assert broken.states.newest()[0] != newest
    capfd.readouterr()
    assert broken.run("--resume") == 0
    said = capfd.readouterr().err
    assert said.count("is damaged and skipped") == 1
    assert f"{newest.name}/{file}" in said
    assert broken.left() == unbroken.left()


def test_a_damaged_state_keeps_no_place_of_a_whole_one(toy):
    broken = toy("broken")
    with pytest.raises(Crash):
        broken.run(crash_at=6)
    newest, _ = broken.states.newest()
    spoil(newest / NAME, "cut")
    with pytest.raises(Crash):
        broken.run("--resume", crash_at=2)
    folders = sorted(broken.states.folder.iterdir())
    assert len(folders) == 2
    assert newest not in folders
    for folder in folders:
        read(folder)


def test_states_on_another_disk(toy, tmp_path):
    unbroken, broken = toy("unbroken"), toy("broken")
    assert unbroken.run() == 0
    (tmp_path / "disk").mkdir()
    broken.states.folder.parent.mkdir(parents=True)
    broken.states.folder.symlink_to(tmp_path / "disk")
    with pytest.raises(Crash):
        broken.run(crash_at=8)
    assert any((tmp_path / "disk").iterdir())
    assert broken.run("--resume") == 0
    assert broken.left() == unbroken.left()
    assert not any((tmp_path / "disk").iterdir())
    assert broken.states.folder.is_symlink()


@pytest.mark.parametrize("how", [[], ["--resume"]])
def test_states_that_may_not_be_read(toy, monkeypatch, how, capfd):
    broken = toy()
    with pytest.raises(Crash):
        broken.run(crash_at=8)

    def denied(states):
        raise PermissionError(13, "Permission denied", str(states.folder))

    monkeypatch.setattr(TrainingStates, "_newest_first", denied)
    assert broken.run(*how) == 2
    assert "The training states of this run cannot be read: [Errno 13]" in capfd.readouterr().err


def test_no_more_states_are_kept_than_asked_for(toy):
    broken = toy(states_kept=3)
    with pytest.raises(Crash):
        broken.run(crash_at=9)
    assert [path.name for path in sorted(broken.states.folder.iterdir())] == [
        f"state-{number:08d}" for number in (6, 7, 8)
    ]


def refusing(function, place, number):
    def call(path, *args, **more):
        if os.path.realpath(path) == str(place):
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *args, **more)

    return call


def test_a_training_state_that_may_not_be_read_is_kept(tmp_path, monkeypatch):
    states = TrainingStates(tmp_path / "states", 2)
    for text in ("older", "newer"):
        states.write(lambda folder, text=text: (folder / "w").write_text(text) and {})
    newest, _ = states.newest()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing(Path.open, newest / "w", errno.EMFILE))
        with pytest.raises(AccessError, match="ulimit -n"):
            states.newest()
    states.write(lambda folder: {})
    assert newest.exists(), "it was not taken for a damaged one"
