"""`fuxictr_stem cache`: what there is, what is damaged, and only what is ours goes."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from filelock import FileLock

from fuxictr_stem import experiment
from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache import inventory
from fuxictr_stem.data.cache.cache_commands import clear_caches, find_caches
from fuxictr_stem.data.cache.open_cache import open_cache
from tests.support.project import Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.write()
    return made


def opened(expid="toy_test"):
    return open_cache(load_experiment("config", expid))


def cache(*args):
    return main(["cache", *args, "--config", "config"])


def states(text):
    """Return the state of each row of the table, by the name of the cache."""
    rows = (re.split(r"  +", line.strip()) for line in text.splitlines())
    return {row[1]: row[-1] for row in rows if re.match(r"[0-9a-f]{16}", (row + [""])[1])}


def flip_block(path):
    """Change a number, and neither the size nor any structure of the file."""
    with h5py.File(path) as file:
        at = file["age"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def leftover(home, name="0123456789abcdef"):
    folder = home / f"{name}.tmp-1-dead0000"
    folder.mkdir()
    (folder / "train.h5").write_text("half")
    return folder


@pytest.fixture
def five(project):
    """A cache of each kind: wanted, old, damaged, unfinished, and of an unknown dataset."""
    project.dataset["min_categr_count"] = 2
    project.write()
    old = opened().folder
    project.dataset["min_categr_count"] = 3
    project.write()
    damaged = opened().folder
    (damaged / "feature_map.json").unlink()
    project.dataset["min_categr_count"] = 1
    project.write()
    whole = opened().folder
    unknown = open_cache(load_experiment("config", "toy_test") | {"dataset_id": "gone"}).folder
    folders = {"old": old, "damaged": damaged, "whole": whole, "unknown": unknown}
    return folders | {"unfinished": leftover(whole.parent)}


def test_an_empty_place(project, capsys):
    assert cache("list") == cache("verify") == cache("clear") == 0
    out = capsys.readouterr().out
    assert out.count("There is no cache.") == 2
    assert "Removed 0 caches, 0 bytes." in out


def test_the_list_tells_rows_size_and_state(five, capsys):
    assert cache("list") == 0
    out = capsys.readouterr().out
    # One of unknown dataset has the name of the whole one.
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("gone ")] == [
        "unknown"
    ]
    found = {line.split()[1]: line for line in out.splitlines() if line.startswith("toy ")}
    assert {name: line.split()[-1] for name, line in found.items()} == {
        folder.name: state for state, folder in five.items() if state != "unknown"
    }
    assert re.search(r"toy +[0-9a-f]{16} +600 +200 +200 +[\d.]+ KiB +\d{4}-", out)
    assert f"{five['damaged']}/feature_map.json cannot be read" in out
    assert "its dataset is not in the config" in out
    # Looking changes nothing.
    assert all(folder.exists() for folder in five.values())


def test_a_change_of_the_sources_makes_a_cache_old(project, capsys):
    folder = opened().folder
    project.frames["train"] = project.frames["train"].head(500)
    project.write()
    cache("list")
    assert states(capsys.readouterr().out) == {folder.name: "old"}
    (project.folder / "train.csv").unlink()
    cache("list")
    out = capsys.readouterr().out
    assert states(out) == {folder.name: "unknown"}
    assert "train.csv' does not exist" in out


def test_a_group_that_only_an_experiment_names_is_asked_for(project, capsys):
    del project.dataset["group_id"]
    project.experiments["grouped"] = {**project.model, "group_id": "item"}
    project.model["metrics"] = ["AUC"]
    project.write()
    folders = {opened("toy_test").folder, opened("grouped").folder}
    assert len(folders) == 2
    cache("list")
    assert states(capsys.readouterr().out) == {folder.name: "whole" for folder in folders}


def test_the_caches_of_another_folder(project, capsys, tmp_path):
    folder = opened().folder
    shutil.move("data", tmp_path / "moved")
    cache("list")
    assert "There is no cache." in capsys.readouterr().out
    assert cache("list", "--data-root", "moved") == 0
    assert states(capsys.readouterr().out) == {folder.name: "whole"}
    assert cache("list", "--data-root", "absent") == 2
    assert "--data-root absent: there is no such folder" in capsys.readouterr().err


def test_verify_reads_what_the_list_does_not(project, capsys):
    folder = opened().folder
    assert cache("verify") == 0
    assert "Nothing is damaged." in capsys.readouterr().out
    for split in ("train", "test"):
        flip_block(folder / f"{split}.h5")
    cache("list")
    assert states(capsys.readouterr().out) == {folder.name: "whole"}
    assert cache("verify") == 1
    out = capsys.readouterr().out
    assert states(out) == {folder.name: "damaged"}
    assert out.count(" is not what was written") == 2
    assert str(folder / "train.h5") in out
    assert str(folder / "test.h5") in out
    assert "fuxictr_stem cache clear" in out


def test_a_run_that_meets_a_damaged_block_ends_in_one_message(project, capsys):
    folder = opened().folder
    flip_block(folder / "train.h5")
    assert project.run() == 2
    err = capsys.readouterr().err
    assert re.search(r"error: \S+train.h5 is damaged: column 'age'", err)
    assert "fuxictr_stem cache clear" in err
    assert "Traceback" not in err
    assert cache("clear") == 0
    assert not folder.exists()
    assert project.run() == 0


def test_clear_removes_what_no_run_reads_again(five, capsys):
    gone = ("old", "damaged", "unfinished")
    size = sum(p.stat().st_size for name in gone for p in five[name].iterdir())
    assert cache("clear", "--dry-run") == 0
    assert f"Would remove 3 caches, {size:,} bytes." in capsys.readouterr().out
    assert all(folder.exists() for folder in five.values())
    assert cache("clear") == 0
    out = capsys.readouterr().out
    assert f"Removed 3 caches, {size:,} bytes." in out
    assert {name for name, folder in five.items() if folder.exists()} == {"whole", "unknown"}
    assert all(f"removed {five[name].resolve()} ({name}" in out for name in gone)
    assert cache("verify") == 0


def test_clear_finds_damage_that_only_reading_shows(project):
    folder = opened().folder
    flip_block(folder / "valid.h5")
    cache("clear")
    assert not folder.exists()


def test_clear_all_and_of_one_dataset(five, capsys):
    assert cache("clear", "--all", "--dataset", "gone") == 0
    assert {name for name, folder in five.items() if not folder.exists()} == {"unknown"}
    assert cache("clear", "--all") == 0
    assert not any(folder.exists() for folder in five.values())
    assert cache("clear", "--dataset", "tyo") == 2
    assert "--dataset tyo: neither the config" in capsys.readouterr().err


def test_a_cache_whose_lock_is_held_stays(five, capsys):
    held = [five["old"], five["unfinished"], five["whole"]]
    locks = [FileLock(f.with_name(f"{f.name.partition('.')[0]}.lock")) for f in held]
    for lock in locks:
        lock.acquire()
    try:
        cache("list")
        assert capsys.readouterr().out.count("being built") == 3
        assert cache("clear", "--all") == 0
        assert capsys.readouterr().out.count("a run is using it") == 3
        found = find_caches(Path("config"), None, None)
    finally:
        for lock in locks:
            lock.release()
    # A build may end between the look at a cache and its removal.
    assert clear_caches(found, everything=True, dry_run=False) == 0
    assert capsys.readouterr().out.count("a run is using it") == 3
    assert all(folder.exists() for folder in held)
    assert not five["damaged"].exists()


def test_a_dry_run_knows_who_reads(project, capsys):
    reader = opened()
    assert cache("clear", "--all", "--dry-run") == 0
    assert "a run is using it" in capsys.readouterr().out
    del reader
    assert cache("clear", "--all", "--dry-run") == 0
    assert "would remove" in capsys.readouterr().out


def test_one_cache_that_cannot_be_removed_does_not_keep_the_others(five, monkeypatch, capsys):
    remove = inventory.remove

    def refuse(folder):
        if folder.name == five["old"].name:
            raise PermissionError(13, "Permission denied")
        return remove(folder)

    monkeypatch.setattr(inventory, "remove", refuse)
    assert cache("clear") == 1
    assert f"{five['old']}: it cannot be removed" in capsys.readouterr().out
    assert five["old"].exists()
    assert not five["damaged"].exists()
    assert not five["unfinished"].exists()


def test_a_cache_that_a_run_reads_stays(project, monkeypatch, capsys):
    """It was asked for when the run began; the config is another one now."""
    found = []
    predict = experiment.predict

    def late(model, loader, what):
        if not found:
            project.dataset["min_categr_count"] = 3
            project.write()
            assert cache("clear", "--all") == 0
            found.append(capsys.readouterr().out)
        return predict(model, loader, what)

    monkeypatch.setattr(experiment, "predict", late)
    assert main(["run", "--expid", "toy_test", "--config", "config"]) == 0
    assert "a run is using it" in found[0]
    assert "Removed 0 caches" in found[0]
    assert cache("clear", "--all") == 0
    assert "Removed 1 cache" in capsys.readouterr().out


def test_a_cache_that_was_built_anew_meanwhile_stays(project, monkeypatch):
    folder = opened().folder
    (folder / "test.h5").unlink()
    remove = inventory.clear

    def late(found, dry_run):
        opened()
        return remove(found, dry_run)

    monkeypatch.setattr(inventory, "clear", late)
    assert cache("clear") == 0
    assert opened().folder == folder
    assert (folder / "test.h5").exists()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_nothing_of_a_users_own_is_removed(five, project, tmp_path, capsys):
    home = five["whole"].parent
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "train.h5").write_text("mine")
    (home / "fedcba9876543210").symlink_to(mine)
    (home.parent / "linked").symlink_to(mine)
    (mine / "fedcba9876543210").mkdir()
    (five["whole"] / "feature_vocab.json").unlink()
    (five["whole"] / "feature_vocab.json").symlink_to(mine / "train.h5")
    for name in ("my.tmp-backup", "0123456789abcdef.bak", "0123456789ABCDEF", "notes"):
        (home / name).mkdir()
        (home / name / "train.h5").write_text("mine")
    (five["old"] / "notes.txt").write_text("mine")
    (five["old"] / "plots").mkdir()
    before = contents(mine)
    assert cache("clear", "--all") == 0
    assert contents(mine) == before
    kept = {path.name for path in home.iterdir() if not path.name.endswith(".lock")}
    assert kept == {
        *("my.tmp-backup", "0123456789abcdef.bak", "0123456789ABCDEF", "notes"),
        *("fedcba9876543210", five["old"].name),
    }
    assert sorted(os.listdir(five["old"])) == ["notes.txt", "plots"]
    assert f"{five['old']} was kept" in capsys.readouterr().err
    assert all((Path(name)).exists() for name in ("train.csv", "valid.csv", "config"))


def test_a_damaged_config_of_one_dataset_hides_no_cache_of_another(project, capsys):
    folder = opened().folder
    other = project.folder / "config" / "dataset_config" / "other.yaml"
    other.write_text("other: {data_root: ./data/, feature_cols: 3}\n")
    capsys.readouterr()
    assert cache("list") == 0
    out, err = capsys.readouterr()
    assert states(out) == {folder.name: "whole"}
    assert "Dataset 'other': " in err
    assert "INFO" not in err


def test_a_cache_that_cannot_be_read_now_is_said_to_be_so_and_stays(project, monkeypatch, capsys):
    folder = opened().folder
    path = (folder / "train.h5").resolve()
    opening = Path.open

    def denied(self, *args, **more):
        if self.resolve() == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return opening(self, *args, **more)

    monkeypatch.setattr(Path, "open", denied)
    assert cache("verify") == 1
    out = capsys.readouterr().out
    assert "Not checked:" in out
    assert "train.h5 cannot be read now: Permission denied" in out
    assert "Nothing else is damaged." in out
    assert cache("clear") == 0
    assert "Removed 0 caches" in capsys.readouterr().out
    assert path.exists()


def test_a_lock_of_another_process_is_no_reason_to_clear(project, capsys):
    folder = opened().folder
    holder = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX);"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(folder / "train.h5")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        assert cache("verify") == 0
        assert cache("clear") == 0
        process.stdin.close()
    assert "Removed 0 caches" in capsys.readouterr().out
    assert (folder / "train.h5").exists()
