from __future__ import annotations

import csv
import logging

import pytest

from fuxictr_stem.data.preparers import qkvideo, raw
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime import progress
from tests.support.raw_files import (
    dataset_in,
    kuairand_tables,
    nothing_written,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)

GOOD = b"1\t2\t3\t4\t5\t0\t1\t0\t8\t9\t10\t11\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (GOOD * 60 + b"1\t2\t3\n" + GOOD * 9, "Row #61: Expected 12 columns, got 3"),
        (GOOD * 60 + GOOD[:7], "Row #61: Expected 12 columns"),
        (GOOD * 60 + GOOD[:-3] + b"\n", "row 61: video_duration is empty"),
        (GOOD * 60 + b"\n" + GOOD, "row 61: uid is empty"),
        (GOOD * 60 + b"x" + GOOD[1:], "Row #61.*invalid value 'x'"),
        (GOOD * 60 + b"\xff" + GOOD[1:], "invalid"),
        (b"\xff\xfe" + GOOD, "first line is not text"),
        (b"1\t2\n" * 30, "row 1: expected 12 columns .*found 2"),
        (GOOD.replace(b"\t", b",") * 30, "row 1: expected 12 columns .*found 1"),
    ],
    ids=range(10),
)
def test_a_damaged_tiktok_file_is_named(tmp_path, content, message):
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "final_track1_train.txt"
    path.write_bytes(content)
    dataset = dataset_in(tmp_path, "tiktok")
    with pytest.raises(DataError, match=message) as caught:
        prepare(dataset)
    assert str(path) in str(caught.value)
    assert nothing_written(dataset)


def test_a_row_far_into_the_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 400)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "final_track1_train.txt").write_bytes(GOOD * 500 + b"1\t2\n" + GOOD * 9)
    with pytest.raises(DataError, match="Row #501: Expected 12 columns, got 2"):
        prepare(dataset_in(tmp_path, "tiktok"))


def test_a_missing_column_is_named(tmp_path):
    frame = write_qkvideo(tmp_path / "raw", [1, 2, 3])
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    frame.rename(columns={"like": "likes"}).to_csv(path, index=False)
    dataset = dataset_in(tmp_path, "qkvideo")
    with pytest.raises(DataError, match=r"some are missing: 'like'. Did you mean 'likes'"):
        prepare(dataset)
    assert nothing_written(dataset)


def test_a_file_of_a_header_alone_is_refused(tmp_path):
    write_qkvideo(tmp_path / "raw", [])
    with pytest.raises(DataError, match=r"ctr_data_1M\.csv"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_a_column_named_twice_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    header = ",".join([*qkvideo.COLUMNS, "age"])
    (tmp_path / "raw" / "ctr_data_1M.csv").write_text(header + "\n" + ",".join("1" * 21) + "\n")
    with pytest.raises(DataError, match="names age more than once"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_rows_are_counted_with_the_header(tmp_path):
    frame = write_qkvideo(tmp_path / "raw", [1] * 30)
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    lines = frame.to_csv(index=False).splitlines()
    lines[20] = lines[20].replace(",", ",,", 2)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match="Row #21: Expected 20 columns, got 22"):
        prepare(dataset_in(tmp_path, "qkvideo"))
    frame["like"] = frame["like"].astype(object)
    frame.loc[19, "like"] = ""
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="row 21: like is empty"):
        prepare(dataset_in(tmp_path, "qkvideo"))


def test_a_cut_gzip_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 1000)
    write_kuairand(tmp_path / "raw", kuairand_tables(), ending=".csv.gz")
    path = tmp_path / "raw" / "log_standard_4_22_to_5_08_pure.csv.gz"
    path.write_bytes(path.read_bytes()[:-40])
    dataset = dataset_in(tmp_path, "kuairand_pure")
    with pytest.raises(DataError, match="4_22_to_5_08_pure.csv.gz"):
        prepare(dataset)
    assert nothing_written(dataset)


def test_progress_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 4000)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    write_tiktok(tmp_path / "raw", 1000)
    with caplog.at_level(logging.INFO):
        prepare(dataset_in(tmp_path, "tiktok"))
    assert "Splitting final_track1_train.txt: 100% of 1,000 rows, 0:00:00 left," in caplog.text
    assert "rows/s" in caplog.text


def test_line_ends_of_old_macs_are_refused(tmp_path):
    write_qkvideo(tmp_path / "raw", [1, 2, 3])
    path = tmp_path / "raw" / "ctr_data_1M.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    with pytest.raises(DataError, match="ctr_data_1M.csv: the first line names no columns"):
        prepare(dataset_in(tmp_path, "qkvideo"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'i,t,n\n1,"5\\" pad",1\n2,b,0\n',
            'raw.csv, line 2, at 1,"5\\" pad",1: a quoted field continues',
        ),
        ('i,t,n\n1,"5,1\n2,b,0\n', "raw.csv, line 2, at "),
        ("i,t,n\n1,a,1\n\n2,b,0\n", "raw.csv, row 3: i is empty."),
    ],
)
def test_official_raw_files_are_read_no_otherwise(tmp_path, text, says):
    path = tmp_path / "raw.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(raw.RawFile(path, ["i", "n"]).blocks())
    assert says in str(caught.value)


def test_a_raw_file_with_quotes_and_line_ends_is_read_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "_BLOCK_BYTES", 64)
    path = tmp_path / "raw.csv"
    values = [f'a "b"\n,{i}' if i % 3 else f"c{i}" for i in range(50)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["i", "t"], *enumerate(values)])
    found = [value for block in raw.RawFile(path, ["i"]).blocks() for value in block["t"]]
    assert found == values
