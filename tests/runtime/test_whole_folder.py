"""Folders that appear whole: complete or absent, and judged by their account."""

import errno
import json
import os
from pathlib import Path

import pytest

from fuxictr_stem.errors import AccessError
from fuxictr_stem.runtime.outputs import remove_temporaries, temporaries, write_json
from fuxictr_stem.runtime.whole_folder import (
    Damaged,
    OtherFormat,
    file_damage,
    fresh_folder,
    put_in_place,
    read_account,
    sealed,
    write_account,
)
from tests.support.processes import killed_at

CONTENT = {"format": 3, "rows": 2}


def make(place):
    with fresh_folder(place) as fresh:
        (fresh / "a.txt").write_text("one")
        (fresh / "b.txt").write_text("two")
        write_account(fresh / "account.json", CONTENT)
        put_in_place(fresh, place)


@pytest.fixture
def place(tmp_path):
    make(tmp_path / "made")
    return tmp_path / "made"


def damage_of(place, whole=True):
    account = read_account(place / "account.json", 3)
    damages = (file_damage(place / name, said, whole) for name, said in account["files"].items())
    return [damage for damage in damages if damage]


def test_a_folder_appears_with_its_account(place):
    account = read_account(place / "account.json", 3)
    assert account["rows"] == 2
    assert account["files"]["a.txt"]["bytes"] == 3
    assert set(account["files"]) == {"a.txt", "b.txt"}
    assert damage_of(place) == []
    assert os.listdir(place.parent) == ["made"]


@pytest.mark.slow
@pytest.mark.parametrize("at", ["write_account", "sync", "sync_folder"])
def test_a_killed_maker_leaves_a_whole_folder_or_a_temporary_one(tmp_path, at):
    killed_at(f"fuxictr_stem.runtime.whole_folder:{at}", make_here, tmp_path / "made")
    if at == "sync_folder":
        assert damage_of(tmp_path / "made") == []
        return
    assert len(temporaries(tmp_path)) == len(os.listdir(tmp_path)) == 1
    remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == []


def make_here(place):
    """Make a folder by the functions of the module, which a test may have replaced."""
    from fuxictr_stem.runtime import whole_folder

    with whole_folder.fresh_folder(place) as fresh:
        (fresh / "a.txt").write_text("one")
        whole_folder.write_account(fresh / "account.json", CONTENT)
        whole_folder.put_in_place(fresh, place)


def test_an_error_leaves_nothing(tmp_path):
    def fail():
        with fresh_folder(tmp_path / "made") as fresh:
            (fresh / "a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert os.listdir(tmp_path) == []


def test_each_damage_is_named(place):
    path = place / "a.txt"
    path.write_text("ONE")
    assert damage_of(place, whole=False) == []
    assert f"{path} is not what was written" in damage_of(place)[0]
    path.write_text("longer")
    assert f"{path} is not what was written" in damage_of(place, whole=False)[0]
    path.unlink()
    path.symlink_to(place / "b.txt")
    assert f"{path} cannot be read: it is a link" in damage_of(place)[0]
    path.unlink()
    assert f"{path} cannot be read" in damage_of(place)[0]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"format": 3, "rows": 5}', Damaged),
        ('{"format": 2}', OtherFormat),
        ("[]", Damaged),
        ("{", Damaged),
        ("[" * 100_000, Damaged),
        (None, Damaged),
    ],
)
def test_a_changed_account_is_damage(place, text, kind):
    path = place / "account.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(kind, match="account.json"):
        read_account(path, 3)


def test_what_the_system_refuses_is_no_damage(place, monkeypatch):
    def refuse(path, *args, **more):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AccessError, match="ulimit -n"):
        file_damage(place / "a.txt", {})
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(AccessError, match="ulimit -n"):
        read_account(place / "account.json", 3)


def test_the_account_of_files_of_a_users_choice(tmp_path):
    files = [tmp_path / name for name in ("x.csv", "y.csv")]
    for file in files:
        file.write_text(file.name)
    write_json(tmp_path / "prepared.json", sealed({"format": 1}, files))
    account = read_account(tmp_path / "prepared.json", 1)
    assert list(account["files"]) == ["x.csv", "y.csv"]
    text = json.loads((tmp_path / "prepared.json").read_text())
    assert text.pop("digest")
    assert text == account
