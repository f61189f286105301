"""What a run leaves: its line in the csv file, whole or not at all, and what rebuilds its model."""

import errno
import json
import math
import os
import re
import shutil

import pytest

from fuxictr_stem import results
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.config.result_settings import as_json
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.results import read_run
from tests.support.kills import spoil
from tests.support.processes import at_once


def append(path, expid, figures):
    results.append_csv_line(path, expid, "toy", figures, {"AUC": 0.5})


def lines(path):
    """Return the experiment ids of the lines, each of which must be whole."""
    found = []
    for line in path.read_text().split("\n")[:-1]:
        whole = re.fullmatch(
            r" \d{8}-\d{6},\[command\] python .*,\[exp_id\] (\w+),\[dataset_id\] toy,\[train\] "
            r"N\.A\.,\[val\] (.*),\[test\] AUC: 0\.500000",
            line,
        )
        assert whole, line
        found.append((whole[1], whole[2].count(" - ") + 1))
    return found


def append_many(path, name):
    # Some longer than what a file system writes at once.
    for i in range(40):
        append(path, f"{name}_{i}", {f"metric_{k}": i for k in range(1 + i * 10)})


def test_eight_processes_append_whole_lines(tmp_path):
    path = tmp_path / "results.csv"
    assert at_once(append_many, [(path, f"run{n}") for n in range(8)]) == [None] * 8
    found = lines(path)
    assert sorted(found) == sorted((f"run{n}_{i}", 1 + i * 10) for n in range(8) for i in range(40))


def test_what_a_killed_run_left_of_a_line_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "results.csv"
    append(path, "first", {"AUC": 1})
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    append(path, "second", {"AUC": 1})
    first, half, second = path.read_text().splitlines()
    assert half == whole[: len(whole) // 2]
    assert "[exp_id] first" in first
    assert "[exp_id] second" in second


def test_short_writes_are_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    append(tmp_path / "results.csv", "one", {"AUC": 1})
    append(tmp_path / "results.csv", "two", {"AUC": 1})
    assert lines(tmp_path / "results.csv") == [("one", 1), ("two", 1)]


def test_a_line_that_finds_no_room_leaves_nothing_and_is_told(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    append(path, "one", {"AUC": 1})
    before = path.read_bytes()
    write = os.write

    def full(handle, data):
        if len(data) < 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data[:-50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(
        OutputError, match="results of two could not be appended .*No space left.*AUC: 1"
    ):
        append(path, "two", {"AUC": 1})
    assert path.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full here")
def test_a_full_device_is_told():
    with pytest.raises(OutputError, match="No space left"):
        append("/dev/full", "one", {"AUC": 1})


def test_an_argument_that_is_no_utf8_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run", os.fsdecode(b"caf\xe9")])
    append(tmp_path / "results.csv", "one", {"AUC": 1})
    assert b"caf\xe9" in (tmp_path / "results.csv").read_bytes()


def test_what_rebuilds_the_model_is_plain_json_without_places(project):
    project.dataset["label_col"][0]["missing"] = math.nan
    assert project.run() == 0
    folder = project.folder / "checkpoints" / "toy" / "toy_test"
    json.loads((folder / "run.json").read_text(), parse_constant=pytest.fail)
    assert str(project.folder) not in (folder / "run.json").read_text()
    params = read_run(folder)
    assert math.isnan(params["label_col"][0]["missing"])
    then = load_experiment("config", "toy_test")
    assert not {"data_root", "model_root", "train_data", "test_data"} & params.keys()
    for key in params.keys() - {"label_col", "gpu"}:
        assert params[key] == as_json(then[key]), key


def test_a_file_of_a_run_that_is_damaged_or_of_another_version_is_named(project):
    assert project.run() == 0
    folder, copy = project.folder / "checkpoints" / "toy" / "toy_test", project.folder / "copy"
    for name in ("run.json", "model.safetensors"):
        for damage in ("cut", "flip", "empty", "delete"):
            shutil.copytree(folder, copy)
            spoil(copy / name, damage)
            with pytest.raises(DataError, match=f"copy.*{name}.*rain the experiment again"):
                read_run(copy)
            shutil.rmtree(copy)
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "format": 99}))
    with pytest.raises(DataError, match=r"another version of fuxictr_stem. Use the version that"):
        read_run(folder)
