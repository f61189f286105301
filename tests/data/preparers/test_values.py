"""Raw files of the official form whose content cannot be, and raw files that are none."""

import os
from pathlib import Path

import pytest

from fuxictr_stem.cli import main
from fuxictr_stem.data.preparers import prepare, raw
from fuxictr_stem.errors import DataError
from tests.support.raw_files import (
    CONFIG,
    dataset_in,
    kuairand_tables,
    read_splits,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)

LOGS = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
FEATURES = ("user_features", "video_features_basic")


def nothing_written(dataset) -> bool:
    folder = Path(dataset["train_data"]).parent
    return not folder.exists() or {p.name for p in folder.iterdir()} <= {".prepare.lock"}


def kuairand_with(tmp_path, changes):
    """KuaiRand-Pure with some values of its second log changed: (row, column) -> value."""
    tables = kuairand_tables()
    log = tables[LOGS[1]]
    for (row, column), value in changes.items():
        log.iloc[row, log.columns.get_loc(column)] = value
    write_kuairand(tmp_path / "raw", tables)
    return dataset_in(tmp_path, "kuairand_pure")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        *(
            ("duration_ms", value, "a number from 0 to 2,147,483,647, or empty")
            for value in ("NaN", "inf", "-5", "1e300", "x")
        ),
        *(
            ("date", value, "a day as 20220507")
            for value in ("0", "-5", "99999999999", "20220431", "220507")
        ),
        *(("hourmin", value, "hour and minute as 2359") for value in ("-1", "2400", "1260")),
    ],
)
def test_kuairand_values_that_cannot_be_are_refused(tmp_path, monkeypatch, column, value, rule):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 1000)
    dataset = kuairand_with(tmp_path, {(row, column): value for row in (3, 70, 110)})
    with pytest.raises(DataError) as caught:
        prepare(dataset)
    found = value if column != "duration_ms" else repr(value)
    for part in (
        f"{LOGS[1]}_pure.csv: {column} must be {rule}",
        "; 3 of 120 rows",
        f"first {found} in row 5.",
    ):
        assert part in str(caught.value)
    assert nothing_written(dataset)


def test_all_columns_that_cannot_be_come_in_one_message(tmp_path):
    dataset = kuairand_with(tmp_path, {(3, "date"): "0", (9, "duration_ms"): "inf"})
    with pytest.raises(
        DataError, match=r"(?s)date must be .* row 5\..*duration_ms must .* row 11\."
    ):
        prepare(dataset)


def test_kuairand_durations_may_be_unknown_or_fractions(tmp_path):
    values = ["", "12499.5", "4.1e4", "2147483647"]
    changes = {(row, "duration_ms"): value for row, value in enumerate(values)}
    dataset = kuairand_with(tmp_path, {**changes, **{(row, "tab"): "7" for row in range(4)}})
    prepare(dataset)
    rows = [row for part in read_splits(dataset).values() for row in part.to_dicts()]
    buckets = {row["duration_ms"]: row["duration_bucket"] for row in rows if row["tab"] == "7"}
    assert buckets == {None: None, "12499.5": "2", "4.1e4": "8", "2147483647": "60"}


def test_kuairand_logs_must_have_the_same_columns(tmp_path):
    tables = kuairand_tables()
    tables[LOGS[1]] = tables[LOGS[1]].rename(columns={"tab": "tub"})
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match="4_22_to_5_08_pure.csv: its columns must be .* tub"):
        prepare(dataset)
    assert nothing_written(dataset)


@pytest.mark.parametrize("stem", [*LOGS, *FEATURES])
def test_a_kuairand_file_of_a_header_alone_is_refused(tmp_path, stem):
    tables = kuairand_tables()
    tables[stem] = tables[stem].iloc[:0]
    write_kuairand(tmp_path / "raw", tables)
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match=f"{stem}_pure.csv: the file has a header and no rows"):
        prepare(dataset)
    assert nothing_written(dataset)


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


def test_line_ends_of_old_macs_are_refused(tmp_path):
    write_qkvideo(tmp_path / "raw", [1, 2, 3])
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    with pytest.raises(DataError, match="ctr_data_1M.csv: the first line names no columns"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path):
    long = "/".join(["y" * 200] * 20) + "y" * 60
    dataset = dataset_in(tmp_path, "kuairand_pure", raw_dir=long)
    with pytest.raises(DataError, match=r"prepare.raw_dir: the raw files .* File name too long"):
        prepare(dataset)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 300, "File name too long"),
        ("~/kuairand", "Write the path itself"),
        ("", "must be text that can be a path, found ''"),
    ],
)
def test_the_raw_folder_of_the_command_line_is_checked(capsys, value, message):
    arguments = ["prepare", "--config", str(CONFIG), "--dataset", "kuairand_pure"]
    assert main([*arguments, f"--raw-dir={value}"]) == 2
    told = capsys.readouterr().err
    assert "error: --raw-dir: must be" in told
    assert message in told
