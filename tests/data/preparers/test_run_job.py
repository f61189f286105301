from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fuxictr_stem.data.preparers.job import RawFilesMissing
from fuxictr_stem.data.preparers.run_job import PREPARERS, prepare
from fuxictr_stem.errors import DataError, OutputError
from tests.support.raw_files import (
    SPLITS,
    dataset_in,
    kuairand_tables,
    nothing_written,
    read_splits,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)


def files_of(dataset) -> dict[str, bytes]:
    return {split: Path(dataset[f"{split}_data"]).read_bytes() for split in SPLITS}


def stamps_of(dataset) -> list[int]:
    return [Path(dataset[f"{split}_data"]).stat().st_mtime_ns for split in SPLITS]


def folder_of(dataset) -> Path:
    return Path(dataset["train_data"]).parent


@pytest.fixture
def tiktok(tmp_path):
    write_tiktok(tmp_path / "raw", 100)
    return dataset_in(tmp_path, "tiktok")


def test_prepared_files_are_left_alone(tiktok, caplog):
    prepare(tiktok)
    before = stamps_of(tiktok)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert stamps_of(tiktok) == before
    assert "used as they are (they match prepared.json)" in caplog.records[0].message
    assert "hold 100 rows, the published data set 275,855,531" in caplog.records[1].message
    assert len(caplog.records) == 2


def test_the_record_says_how_they_were_made(tiktok, tmp_path):
    prepare(tiktok)
    record = json.loads((folder_of(tiktok) / "prepared.json").read_text())
    raw = tmp_path / "raw" / "final_track1_train.txt"
    assert record["preparer"] == "tiktok"
    assert record["options"] == {}
    assert record["raw files"] == {
        raw.name: {"bytes": raw.stat().st_size, "mtime_ns": raw.stat().st_mtime_ns}
    }
    assert record["rows"] == {
        "train": 81,
        "valid": 9,
        "test": 10,
    }
    for split in SPLITS:
        content = Path(tiktok[f"{split}_data"]).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert record["files"][record["splits"][split]] == {"bytes": len(content), "sha256": digest}
    assert {p.name for p in folder_of(tiktok).iterdir()} - {".prepare.lock"} == {
        "train.parquet",
        "valid.parquet",
        "test.parquet",
        "prepared.json",
    }


def test_a_changed_raw_file_is_prepared_again(tiktok, tmp_path, caplog):
    prepare(tiktok)
    write_tiktok(tmp_path / "raw", 120, seed=1)
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert "raw files changed from" in caplog.text
    assert sum(frame.height for frame in read_splits(tiktok).values()) == 120


def test_changed_options_are_prepared_again(tmp_path, caplog):
    write_kuairand(tmp_path / "raw", kuairand_tables())
    prepare(dataset_in(tmp_path, "kuairand_pure"))
    dataset = dataset_in(tmp_path, "kuairand_pure", valid_date=20220430, test_date=20220507)
    with caplog.at_level(logging.INFO):
        prepare(dataset)
    assert "options changed from" in caplog.text
    assert set(read_splits(dataset)["valid"]["date"]) == {"20220430", "20220506"}


def test_another_version_of_the_preparer_prepares_again(tiktok, monkeypatch, caplog):
    prepare(tiktok)
    newer = dataclasses.replace(PREPARERS["tiktok"], version=2)
    monkeypatch.setitem(PREPARERS, "tiktok", newer)
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert "version changed from 1 to 2" in caplog.text
    assert json.loads((folder_of(tiktok) / "prepared.json").read_text())["version"] == 2


def test_splits_outlive_their_raw_files(tmp_path, caplog):
    write_kuairand(tmp_path / "raw", kuairand_tables())
    dataset = dataset_in(tmp_path, "kuairand_pure")
    prepare(dataset)
    before = files_of(dataset)
    shutil.rmtree(tmp_path / "raw")
    with caplog.at_level(logging.INFO):
        prepare(dataset)
    assert files_of(dataset) == before
    assert "used as they are" in caplog.text
    with pytest.raises(RawFilesMissing, match=r"prepared again \(options changed"):
        prepare(dataset_in(tmp_path, "kuairand_pure", valid_date=20220506))
    assert files_of(dataset) == before


@pytest.mark.parametrize("raw_there", [True, False])
def test_files_of_the_users_own_are_left_alone(tiktok, tmp_path, raw_there, caplog):
    if not raw_there:
        shutil.rmtree(tmp_path / "raw")
    folder_of(tiktok).mkdir()
    for split in SPLITS:
        Path(tiktok[f"{split}_data"]).write_text("mine")
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert set(files_of(tiktok).values()) == {b"mine"}
    assert "so they are your own files" in caplog.text


def test_incomplete_files_of_the_users_own_are_not_overwritten(tiktok):
    folder_of(tiktok).mkdir()
    Path(tiktok["valid_data"]).write_text("mine")
    with pytest.raises(
        DataError, match=r"valid\.parquet exists without .*train\.parquet.*test\.parquet"
    ):
        prepare(tiktok)
    assert Path(tiktok["valid_data"]).read_text() == "mine"


def test_an_edited_split_is_the_users_decision(tiktok):
    prepare(tiktok)
    path = Path(tiktok["valid_data"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"valid\.parquet was changed after it was prepared"):
        prepare(tiktok)
    path.unlink()
    prepare(tiktok)
    assert read_splits(tiktok)["valid"].height == 9


def test_another_file_name_is_prepared(tiktok):
    prepare(tiktok)
    folder = folder_of(tiktok)
    other = {**tiktok, "test_data": str(folder / "held_out.parquet")}
    prepare(other)
    assert (folder / "held_out.parquet").read_bytes() == (folder / "test.parquet").read_bytes()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2, "finished": false}'])
def test_an_unfinished_or_unreadable_record_prepares_again(tiktok, text, caplog):
    prepare(tiktok)
    expected = files_of(tiktok)
    (folder_of(tiktok) / "prepared.json").write_text(text)
    Path(tiktok["test_data"]).write_text("half")
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert "the last preparation was cut off" in caplog.text
    assert files_of(tiktok) == expected


def files_of_record(**changes):
    return {f"{split}.parquet": {"bytes": 1, "sha256": "a"} | changes for split in SPLITS}


@pytest.mark.parametrize(
    "files",
    [
        None,
        5,
        "x",
        [],
        {},
        {"train.parquet": 1},
        dict.fromkeys(files_of_record(), {}),
        files_of_record(),
        files_of_record(bytes="a"),
        files_of_record(bytes=1.5),
        files_of_record(sha256=None),
    ],
)
def test_a_record_of_another_form_prepares_again(tiktok, files, caplog):
    prepare(tiktok)
    expected = files_of(tiktok)
    path = folder_of(tiktok) / "prepared.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "files": files}))
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert "or prepared.json is damaged" in caplog.text
    assert files_of(tiktok) == expected
    assert json.loads(path.read_text()) == record


def test_a_record_nested_too_deep_prepares_again(tiktok):
    prepare(tiktok)
    path = folder_of(tiktok) / "prepared.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    prepare(tiktok)
    assert "digest" in json.loads(path.read_text())


def test_csv_files_of_an_earlier_version_are_made_anew(tiktok, tmp_path, caplog):
    folder = folder_of(tiktok)
    folder.mkdir()
    old = {f"{split}.csv": "uid,like\n1,0\n" for split in SPLITS}
    splits = {s: {"file": f"{s}.csv", "bytes": 13, "rows": 1} for s in SPLITS}
    record = {"complete": True, "preparer": "tiktok", "version": 1, "options": {}, "splits": splits}
    for name, text in {**old, "prepared.json": json.dumps(record)}.items():
        (folder / name).write_text(text)
    (tmp_path / "raw").rename(tmp_path / "away")
    with pytest.raises(RawFilesMissing, match=r"prepared again \(an earlier version wrote CSV"):
        prepare(tiktok)
    (tmp_path / "away").rename(tmp_path / "raw")
    with caplog.at_level(logging.INFO):
        prepare(tiktok)
    assert "an earlier version wrote CSV files, which stay but are no longer read" in caplog.text
    assert {name: (folder / name).read_text() for name in old} == old
    assert sum(frame.height for frame in read_splits(tiktok).values()) == 100


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def state_is_safe(dataset, old, new) -> bool:
    """Whether whoever looks finds a whole set, or sees that there is none."""
    paths = [Path(dataset[f"{split}_data"]) for split in SPLITS]
    if not all(path.exists() for path in paths):
        return True
    record = json.loads((folder_of(dataset) / "prepared.json").read_text())
    return files_of(dataset) in (old, new) or "digest" not in record


@pytest.mark.parametrize("again", [False, True], ids=["first time", "over old splits"])
def test_a_kill_at_any_step_leaves_nothing_half_made(tmp_path, monkeypatch, again):
    write_tiktok(tmp_path / "raw", 200, seed=5)
    dataset = dataset_in(tmp_path, "tiktok")
    prepare(dataset)
    new = files_of(dataset)
    write_tiktok(tmp_path / "raw", 100)
    step, killed = 0, True
    while killed:
        shutil.rmtree(folder_of(dataset))
        old = None
        if again:
            write_tiktok(tmp_path / "raw", 100)
            prepare(dataset)
            old = files_of(dataset)
        write_tiktok(tmp_path / "raw", 200, seed=5)
        left = [step]

        def dying(function, left=left):
            def call(*args, **kwargs):
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return function(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace))
            patch.setattr(os, "fsync", dying(os.fsync))
            patch.setattr(Path, "unlink", dying(Path.unlink))
            patch.setattr(Path, "write_text", dying(Path.write_text))
            patch.setattr(shutil, "rmtree", lambda *a, **k: None)
            try:
                prepare(dataset)
                killed = False
            except Killed:
                pass
        assert state_is_safe(dataset, old, new), step
        prepare(dataset)
        assert files_of(dataset) == new, step
        if killed:
            assert not list(folder_of(dataset).glob("*.tmp-*")), step
        step += 1
    # 3 fsync, 3 unlink, 2 records of two steps each, 3 renames: each was a place to die.
    assert step > 10


@pytest.mark.slow
def test_two_processes_prepare_once(tmp_path):
    write_tiktok(tmp_path / "raw", 20_000)
    dataset = dataset_in(tmp_path, "tiktok")
    program = (
        "import json, logging, sys\n"
        "from fuxictr_stem.data.preparers.run_job import prepare\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "prepare(json.loads(sys.argv[1]))\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(dataset)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    output = [process.communicate(timeout=100)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    assert sum("is prepared;" in text for text in output) == 1
    assert sum("used as they are" in text for text in output) == 1
    assert sum(frame.height for frame in read_splits(dataset).values()) == 20_000


def test_a_folder_that_cannot_be_written_is_reported(tiktok, tmp_path):
    (tmp_path / "tiktok").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="train_data: the folder .* cannot be written"):
        prepare(tiktok)


def test_missing_raw_files_are_accounted_for(tmp_path):
    expected = {
        "tiktok": ["final_track1_train.txt", "ICME 2019", "closed"],
        "qkvideo": ["ctr_data_1M.csv", "2022-NIPS-Tenrec", "tenrec_dataset.html"],
        "kuairand1k": ["user_features_1k.csv", "KuaiRand-1K.tar.gz", "10439422", "kuairand.com"],
        "kuairand_pure": ["log_standard_4_08_to_4_21_pure.csv", "KuaiRand-Pure.tar.gz"],
    }
    for dataset_id, words in expected.items():
        dataset = dataset_in(tmp_path, dataset_id)
        with pytest.raises(RawFilesMissing) as caught:
            prepare(dataset)
        for word in [*words, str(tmp_path / "raw")]:
            assert word in str(caught.value)
        assert not Path(dataset["train_data"]).parent.exists()


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
@pytest.mark.parametrize(
    ("dataset_id", "name"),
    [
        ("tiktok", "final_track1_train.txt"),
        ("qkvideo", "ctr_data_1M.csv"),
        ("kuairand_pure", "user_features_pure.csv"),
        ("kuairand_pure", "log_standard_4_22_to_5_08_pure.csv"),
    ],
)
def test_a_raw_file_that_is_none_is_refused(tmp_path, dataset_id, name, what):
    folder = tmp_path / "raw"
    write_tiktok(folder, 50)
    write_qkvideo(folder, [1, 2, 3] * 20)
    write_kuairand(folder, kuairand_tables())
    path = folder / name
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("/dev/null")
    else:
        os.mkfifo(path)
    dataset = dataset_in(tmp_path, dataset_id)
    with pytest.raises(DataError, match=f"{name}: a raw file must be a file"):
        prepare(dataset)
    assert nothing_written(dataset)


def test_a_link_to_nothing_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "final_track1_train.txt").symlink_to("nowhere")
    with pytest.raises(DataError, match="a link to nothing"):
        prepare(dataset_in(tmp_path, "tiktok"))


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path):
    long = "/".join(["y" * 200] * 20) + "y" * 60
    dataset = dataset_in(tmp_path, "kuairand_pure", raw_dir=long)
    with pytest.raises(DataError, match=r"prepare.raw_dir: the folder .* File name too long"):
        prepare(dataset)
