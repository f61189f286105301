"""File systems that have no locks: refused, or gone on without where the config says so."""

import errno
import fcntl
import json
import os

import pytest
from filelock import FileLock

from fuxictr_stem.cli import main
from fuxictr_stem.data.cache.cache_folder import lock_of
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import OutputError
from fuxictr_stem.runtime import locks
from tests.support.datasets import SPLITS, feature, with_labels, write_dataset

NUMBERS = sorted(locks.NO_LOCKS)


@pytest.fixture(params=NUMBERS, ids=[errno.errorcode[number] for number in NUMBERS])
def without_locks(request, monkeypatch):
    """Have every lock fail as on such a file system."""

    def fails(handle, how):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", fails)


def test_a_lock_that_must_be_is_refused_by_name(tmp_path, without_locks):
    with (
        pytest.raises(
            OutputError, match="^data_root: the file system of .* has no locks.*file_locks"
        ),
        locks.locked(tmp_path / "a.lock", "data_root", "another"),
    ):
        pytest.fail("it went on")


def test_where_the_config_says_so_it_goes_on_and_warns(tmp_path, without_locks, caplog):
    entered = []
    with locks.locked(tmp_path / "a.lock", "data_root", "another", required=False):
        entered.append(1)
    assert entered
    assert "nothing protects it from another run" in caplog.text
    assert not locks.is_held(tmp_path / "a.lock")


def test_where_there_are_locks_the_option_gives_nothing_up(tmp_path, monkeypatch, caplog):
    """Two runs still take turns."""
    caplog.set_level("INFO")
    path, waited = tmp_path / "a.lock", []
    held = FileLock(path)
    held.acquire()
    acquire = FileLock.acquire

    def wait(lock, timeout=None, **more):
        if timeout is None:
            waited.append(1)
            held.release()
        return acquire(lock, timeout=timeout, **more)

    monkeypatch.setattr(FileLock, "acquire", wait)
    with locks.locked(path, "data_root", "another", required=False):
        assert waited
    assert "Waiting for another" in caplog.text
    assert "nothing keeps" not in caplog.text


def test_a_cache_on_a_file_system_without_locks(tmp_path, without_locks):
    frames = {split: with_labels({"cat": list("abab")}) for split in SPLITS}
    dataset = write_dataset(tmp_path, frames, [feature("cat")])
    with pytest.raises(OutputError, match="has no locks"):
        open_cache(dataset)
    cache = open_cache(dataset | {"file_locks": False})
    assert open_cache(dataset).folder == cache.folder, "a whole one is only read"
    assert cache.rows["train"] == 4


def test_a_run_on_a_file_system_without_locks(project, without_locks, capsys):
    project.model["epochs"] = 1
    assert project.run() == 2
    error = capsys.readouterr().err
    assert "model_root: the file system of" in error
    assert "set file_locks: False" in error
    assert "Traceback" not in error
    project.model["file_locks"] = False
    assert project.run() == 0
    (path,) = project.folder.rglob("result.json")
    assert "file_locks" not in json.loads(path.read_text())["settings"]
    # Nobody can tell whether a run reads it.
    capsys.readouterr()
    assert main(["cache", "clear", "--all", "--config", "config"]) == 1
    assert "its file system has no locks" in capsys.readouterr().out
    (cache,) = project.folder.rglob("train.h5")
    assert not locks.is_held(lock_of(cache.parent))
