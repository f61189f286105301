"""What a cache is to runs now, and that only what no run needs is removed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from fuxictr_stem import experiment
from fuxictr_stem.cli import main
from fuxictr_stem.data.cache import inventory
from fuxictr_stem.data.cache.cache_commands import clear_caches, find_caches
from tests.support.cache_commands import cache, opened


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


def test_a_cache_that_cannot_be_read_now_is_reported_and_stays(project, monkeypatch, capsys):
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
