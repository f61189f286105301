"""The folder of a cache: who reads it, what takes its place, and what is removed."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from fuxictr_stem.data.cache import cache_folder
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.runtime.whole_folder import Damaged
from tests.support.small_caches import home


def test_remains_of_killed_builds_are_removed(dataset):
    cache = open_cache(dataset)
    shutil.rmtree(cache.folder)
    own = home(dataset) / f"{cache.folder.name}.tmp-1-dead0000"
    other = home(dataset) / "0123456789abcdef.tmp-1-dead0000"
    running = home(dataset) / "fedcba9876543210.tmp-1-a11e0000"
    for folder in (own, other, running):
        folder.mkdir()
        (folder / "train.h5").write_text("half")
    with FileLock(home(dataset) / "fedcba9876543210.lock"):
        open_cache(dataset)
    assert not own.exists()
    assert not other.exists()
    assert running.exists(), "its builder holds the lock"


def test_a_users_own_folder_with_an_odd_name_stays(dataset):
    home = Path(dataset["data_root"]) / dataset["dataset_id"]
    mine = home / "my.tmp-backup"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("keep me")
    open_cache(dataset)
    assert (mine / "notes.txt").read_text() == "keep me"
    assert not (home / "my.lock").exists()


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("manifest.json", True),
        ("train.h5", True),
        ("feature_map.json", True),
        ("pretrained_cat.npz", True),
        ("encoder.json", True),
        ("vocabulary_12.arrow", True),
        ("more.h5", False),
        ("train.h5.bak", False),
        ("notes.txt", False),
        ("pretrained_a/../../notes.txt", False),
    ],
)
def test_which_files_are_a_caches(name, is_ours):
    assert cache_folder.is_cache_file(name) == is_ours


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def filled(folder, text, *names):
    folder.mkdir()
    for name in ("manifest.json", "train.h5", *names):
        (folder / name).write_text(text)
    return folder


def test_the_manifest_goes_first_and_only_the_caches_own_files(tmp_path, monkeypatch):
    folder = filled(tmp_path / "0123456789abcdef", "12345", "encoder.json", "notes.txt")
    removed, unlink = [], Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (removed.append(path.name), unlink(path)))
    assert cache_folder.remove(folder) == 15
    assert removed[0] == "manifest.json"
    assert sorted(removed[1:]) == ["encoder.json", "train.h5"]
    assert content(folder) == {"notes.txt": "12345"}
    (folder / "notes.txt").rename(tmp_path / "notes.txt")
    assert cache_folder.remove(folder) == 0
    assert not folder.exists()


def test_a_damaged_cache_is_replaced_file_by_file_and_the_manifest_is_last(tmp_path, monkeypatch):
    folder = filled(tmp_path / "0123456789abcdef", "old", "valid.h5", "notes.txt")
    fresh = filled(tmp_path / "fresh", "new", "encoder.json")
    replaced, replace = [], os.replace

    def watched(source, target):
        assert {"manifest.json", "train.h5"} <= content(folder).keys(), "no name is ever absent"
        replaced.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    cache_folder.replace(fresh, folder)
    assert replaced[-1] == "manifest.json"
    new = dict.fromkeys(("manifest.json", "train.h5", "encoder.json"), "new")
    assert content(folder) == {**new, "notes.txt": "old"}


def test_a_link_in_the_place_of_a_cache_is_replaced_and_what_it_names_stays(tmp_path):
    mine = filled(tmp_path / "mine", "mine")
    folder = tmp_path / "0123456789abcdef"
    folder.symlink_to(mine)
    cache_folder.replace(filled(tmp_path / "fresh", "new"), folder)
    assert not folder.is_symlink()
    assert content(folder) == dict.fromkeys(("manifest.json", "train.h5"), "new")
    assert set(content(mine).values()) == {"mine"}


def test_who_reads_a_cache_keeps_it(tmp_path):
    folder = filled(tmp_path / "0123456789abcdef", "whole")
    readers = [cache_folder.hold(folder) for _ in range(2)]
    for reader in readers:
        with cache_folder.unread(folder) as free:
            assert not free
        os.close(reader)
    with cache_folder.unread(folder) as free:
        assert free
    (folder / "manifest.json").unlink()
    with cache_folder.unread(folder) as free:
        assert free, "nobody reads a cache without a manifest"
    with pytest.raises(Damaged, match="manifest.json"):
        cache_folder.hold(folder)
