"""`fuxictr_stem cache`: what there is, what is damaged, and only what is ours goes."""

import re
import shutil

from tests.support.cache_commands import cache, flip_block, opened, states


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
