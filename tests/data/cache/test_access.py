"""Locks, permissions and limits are no damage; and a run reads on while its cache is built anew."""

import errno
import fcntl
import os
import resource
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import AccessError
from tests.support.datasets import SPLITS, assert_same, cached, feature, with_labels, write_dataset
from tests.support.processes import CONTEXT, SECONDS, alone, start
from tests.support.project import Project

pytestmark = pytest.mark.slow

ROWS = 60
FILES = ["train.h5", "valid.h5", "feature_map.json", "manifest.json"]


class Small(H5Loader):
    """Reads in many small windows."""

    chunk_rows, window_chunks = 4, 2


@pytest.fixture
def dataset(tmp_path):
    columns = {"num": np.arange(ROWS, dtype=float), "cat": [f"t{i % 7}" for i in range(ROWS)]}
    frames = {split: with_labels(columns) for split in SPLITS}
    return write_dataset(tmp_path, frames, [feature("num", "numeric", "float"), feature("cat")])


@pytest.fixture
def folder(dataset):
    return open_cache(dataset).folder


def identity(folder):
    return {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


def hold_lock(path, how, held, done):
    handle = os.open(path, os.O_RDWR)
    fcntl.flock(handle, how)
    held.set()
    done.wait(SECONDS)


@pytest.fixture
def lock():
    """Have another process, such as a notebook, lock a file."""
    done, processes = CONTEXT.Event(), []

    def take(path, how=fcntl.LOCK_EX):
        held = CONTEXT.Event()
        processes.append(start(hold_lock, path, how, held, done))
        assert held.wait(SECONDS)

    yield take
    done.set()
    for process in processes:
        process.join(SECONDS)


@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH])
@pytest.mark.parametrize("name", ["train.h5", "valid.h5", "test.h5"])
def test_another_process_lock_is_no_damage(dataset, folder, lock, caplog, name, how):
    before = identity(folder)
    lock(folder / name, how)
    cache = open_cache(dataset)
    assert identity(folder) == before
    assert "damaged" not in caplog.text
    loader = H5Loader(cache.feature_map({}), folder / name, batch_size=ROWS)
    assert next(iter(loader))["num"].tolist() == list(range(ROWS))


def with_few_files(dataset):
    """Open a cache where ever more files may be open; return what came of it."""
    open_cache(dataset)  # what is imported needs files, too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]
    told = set()
    for more in range(5):
        # No number below is free.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + 1 + more, hard))
        try:
            open_cache(dataset)
            told.add("opened")
        except Exception as error:  # noqa: BLE001  the test names what it is
            told.add(f"{type(error).__name__}: {error}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return told


def test_too_many_open_files_are_no_damage(dataset, folder):
    before = identity(folder)
    told = alone(with_few_files, dataset)
    assert isinstance(told, set), told
    assert "opened" in told
    assert identity(folder) == before
    assert any(text.startswith("AccessError") and "ulimit -n" in text for text in told), told
    assert not any("damaged" in text for text in told)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.ESTALE, errno.EIO, errno.ENOMEM, errno.EAGAIN]
)
def test_what_the_system_refuses_is_no_damage(dataset, folder, monkeypatch, name, number):
    before = identity(folder)
    path = folder / name
    monkeypatch.setattr(h5py, "File", refusing(h5py.File, path, number))
    monkeypatch.setattr(Path, "open", refusing(Path.open, path, number))
    monkeypatch.setattr(Path, "read_text", refusing(Path.read_text, path, number))
    with pytest.raises(AccessError) as caught:
        open_cache(dataset)
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert identity(folder) == before


def refusing(function, place, number):
    def call(path, *args, **more):
        if os.path.realpath(path) == str(place):
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *args, **more)

    return call


def test_a_run_that_cannot_read_its_cache_ends_with_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.model["epochs"] = 1
    assert project.run() == 0
    (path,) = tmp_path.rglob("valid.h5")
    before = identity(path.parent)
    with monkeypatch.context() as patch:
        patch.setattr(h5py, "File", refusing(h5py.File, path, errno.ESTALE))
        capsys.readouterr()
        assert project.run() == 2
    error = capsys.readouterr().err
    assert f"valid.h5 cannot be read now: {os.strerror(errno.ESTALE)}" in error
    assert "mount that again" in error
    assert "Traceback" not in error
    assert identity(path.parent) == before


def test_a_reader_waits_for_who_holds_the_manifest(dataset, folder, lock, monkeypatch, caplog):
    """And says so: a lock that nobody frees would look like a run that hangs."""
    caplog.set_level("INFO")
    lock(folder / "manifest.json")
    flock, asked = fcntl.flock, []

    def seen(handle, how):
        asked.append(how)
        if how == fcntl.LOCK_SH:
            raise OSError(errno.ENOLCK, "no more waiting here")
        return flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", seen)
    assert open_cache(dataset).folder == folder
    assert asked[:2] == [fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_SH]
    assert f"Waiting for another process that has locked {folder / 'manifest.json'}" in caplog.text


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_stream_reads_on_when_its_cache_is_gone(dataset, folder, shuffle):
    cache = open_cache(dataset)
    more = {"shuffle": shuffle, "batch_size": 5}
    whole = Small(cache.feature_map({}), cache.path("train"), **more)
    stream = Small(cache.feature_map({}), cache.path("train"), memory_budget=0, **more)
    epochs = [list(whole) for _ in range(2)]
    first = iter(stream)
    batches = [next(first)]
    shutil.rmtree(folder)
    batches += list(first)
    for found, right in zip((batches, list(stream)), epochs, strict=True):
        assert [b["num"].tolist() for b in found] == [b["num"].tolist() for b in right]
        assert [b["cat"].tolist() for b in found] == [b["cat"].tolist() for b in right]


def test_a_rebuild_leaves_no_moment_without_a_file(dataset, folder, monkeypatch):
    """Another run finds a whole file at each name, and reads the same rows, whenever it looks."""
    cache = open_cache(dataset)
    sound = cached(cache)
    stream = iter(Small(cache.feature_map({}), cache.path("train"), batch_size=1, memory_budget=0))
    read, steps = [], []
    (folder / "test.h5").write_bytes(b"cut")

    def looking(function):
        def call(*args, **more):
            result = function(*args, **more)
            assert {p.name for p in folder.iterdir()} >= {
                "train.h5",
                "valid.h5",
                "feature_map.json",
            }
            read.append(next(stream)["num"].item())
            steps.append(function)
            return result

        return call

    for name in ("rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, looking(getattr(os, name)))
    again = open_cache(dataset)
    monkeypatch.undo()
    assert steps
    assert_same(cached(again), sound)
    read += [batch["num"].item() for batch in stream]
    assert read == list(range(ROWS))


def test_a_users_own_file_in_a_damaged_cache_stays(dataset, folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "train.h5").unlink()
    (folder / "train.h5").mkdir()
    (folder / "pretrained_old.npz").write_text("of no use")
    again = open_cache(dataset)
    assert (again.folder / "notes.txt").read_text() == "mine"
    assert not (again.folder / "pretrained_old.npz").exists()
    assert again.path("train").is_file()
