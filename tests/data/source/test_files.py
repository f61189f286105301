"""Which files a folder or a pattern gives, and what the names of folders say."""

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as arrow
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import DataError
from tests.support.datasets import assert_same, cached, feature, label, with_labels, write_dataset

SPLITS = ("train", "valid", "test")
FORMATS = ["csv", "parquet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, text="x"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(train, data_format="csv"):
    put(f"v.{data_format}")
    dataset = {"dataset_id": "d", "data_format": data_format, "feature_cols": []}
    files = find_files(dataset | {"train_data": train, "valid_data": f"v.{data_format}"})
    return [str(path) for path in files["train"]]


def told(train, data_format="csv"):
    with pytest.raises(DataError) as caught:
        found(train, data_format)
    return str(caught.value)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize("data_format", FORMATS)
def test_hidden_names_are_no_parts(here, caplog, data_format):
    e = f".{data_format}"
    for name in (f"part-0{e}", f".part-0{e}", f"_part-1{e}", "_SUCCESS", f".part-0{e}.crc"):
        put(f"tr/{name}")
    put(f"tr/_temporary/0/part-7{e}")
    put(f"tr/.ipynb_checkpoints/part-0{e}")
    for train in ("tr", "tr/", f"tr/*{e}", f"tr/part*{e}", f"t?/*{e}", f"tr/**/*{e}", f"**/p*{e}"):
        assert found(train, data_format) == [f"tr/part-0{e}"], train
    assert not warnings(caplog), "hidden names are passed over without a word"


def test_a_path_that_writes_the_character_means_it(here):
    for name in ("tr/_part-0.csv", "_raw/part-1.csv", "tr/.part-0.csv"):
        put(name)
    for train, right in (
        ("tr/_part-0.csv", ["tr/_part-0.csv"]),
        ("tr/_*.csv", ["tr/_part-0.csv"]),
        ("tr/.p*.csv", ["tr/.part-0.csv"]),
        ("_raw", ["_raw/part-1.csv"]),
        ("_raw/*.csv", ["_raw/part-1.csv"]),
        ("_*/*.csv", ["_raw/part-1.csv"]),
    ):
        assert found(train) == right
    assert "no file matches 'tr/*.csv'" in told("tr/*.csv")
    assert "such as '.part-0.csv', are not read" in told("tr")


@pytest.mark.parametrize("data_format", FORMATS)
def test_what_lies_beside_parts_is_named(here, caplog, data_format):
    e = f".{data_format}"
    for name in (f"a{e}", f"b{e}", f"b{e}.tmp", "notes.txt", f"backup/a{e}", f"c{e.upper()}"):
        put(f"tr/{name}")
    assert found("tr", data_format) == [f"tr/a{e}", f"tr/b{e}"]
    (text,) = warnings(caplog)
    assert text.startswith("train_data: 2 parts of folder 'tr' are read")
    for other in (f"b{e}.tmp", "notes.txt", f"c{e.upper()}"):
        assert f"'tr/{other}'" in text
    assert "'tr/backup' (a folder)" in text
    caplog.clear()
    assert found("tr", data_format) == [f"tr/a{e}", f"tr/b{e}"]
    assert not warnings(caplog), "once in a process"


def test_any_depth(here):
    for name in ("a.csv", "x/b.csv", "x/y/c.csv", "x/.z/d.csv", "x/_z/e.csv", "w/x/f.csv"):
        put(f"tr/{name}")
    deep = ["tr/a.csv", "tr/w/x/f.csv", "tr/x/b.csv", "tr/x/y/c.csv"]
    for train in ("tr/**/*.csv", "tr/**", "tr/**/**/*.csv"):
        assert found(train) == deep
    assert found("tr/*/*.csv") == ["tr/x/b.csv"]
    assert found("tr/**/x/*.csv") == ["tr/w/x/f.csv", "tr/x/b.csv"]
    assert found(f"{here}/tr/**/c.csv") == [f"{here}/tr/x/y/c.csv"]


def test_a_folder_of_folders_says_what_to_write(here):
    put("tr/jan/a.csv")
    put("tr/feb/b.csv")
    text = told("tr")
    assert "folder 'tr' has no parts" in text
    assert "such as 'tr/feb/b.csv'" in text
    assert "write 'tr/**/*.csv'" in text
    assert found("tr/**/*.csv") == ["tr/feb/b.csv", "tr/jan/a.csv"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("train", ["tr", "tr/*.csv", "tr/**/*.csv"])
def test_one_file_by_two_names_is_refused(here, link, train):
    put("tr/a.csv")
    link(os.path.abspath("tr/a.csv"), "tr/b.csv")
    text = told(train)
    assert "'tr/a.csv' and 'tr/b.csv' are one file" in text
    assert "read twice" in text


def test_links_that_lead_back_are_not_followed(here):
    put("tr/x/a.csv")
    for name in ("tr/loop", "tr/x/up", "tr/x/self"):
        os.symlink(here / "tr", name)
    assert found("tr/**/*.csv") == ["tr/x/a.csv"]
    put("elsewhere/b.csv")
    os.symlink(here / "elsewhere", "tr/more")
    assert found("tr/**/*.csv") == ["tr/more/b.csv", "tr/x/a.csv"]


def test_a_pattern_that_fits_a_folder_is_refused(here):
    put("out/day1.csv/part-0.csv")
    put("out/day2.csv")
    assert "matches the folder 'out/day1.csv', which is not a file" in told("out/*.csv")
    assert found("out/day1.csv") == ["out/day1.csv/part-0.csv"]
    assert found("out/**/*.csv") == ["out/day1.csv/part-0.csv", "out/day2.csv"]


def test_what_cannot_be_read_is_not_passed_over(here, monkeypatch):
    for name in ("tr/a.csv", "tr/x/b.csv"):
        put(name)
    listed = os.listdir

    def denied(path="."):
        if str(path).endswith("x"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", denied)
        assert "'tr/x' cannot be read: Permission denied" in told("tr/**/*.csv")
        assert "'tr/x' cannot be read: Permission denied" in told("tr/*/*.csv")
    os.symlink("nowhere", "tr/c.csv")
    assert "'tr/c.csv' cannot be read: No such file" in told("tr")
    os.remove("tr/c.csv")
    os.mkfifo("tr/c.csv")
    assert "'tr/c.csv' is no regular file" in told("tr")
    os.mkfifo("p")
    assert "'p' is neither a file nor a folder" in told("p")


def test_brackets_in_the_name_of_a_folder(here):
    put("run [1]/a.csv")
    put("run 1/b.csv")
    assert found("run [1]/*.csv") == ["run [1]/a.csv"]
    assert found("run [0-9]/*.csv") == ["run 1/b.csv"]


def frames():
    rng = np.random.default_rng(0)
    return {
        split: with_labels({"cat": [f"c{n}" for n in rng.integers(0, 4, size)]})
        for split, size in zip(SPLITS, (8, 6, 6), strict=True)
    }


def partitioned(folder, values, key="day", data_format="parquet", dtype="str", kind="categorical"):
    """Write splits whose rows lie in folders by a value, and say what the rows are by pyarrow."""
    dataset = write_dataset(
        folder, frames(), [feature("cat"), feature(key, kind, dtype)], [label()], data_format
    )
    right = {}
    for split, frame in frames().items():
        for i, value in enumerate(values):
            place = folder / split / f"{key}={value}"
            place.mkdir(parents=True)
            part = frame[i :: len(values)]
            path = place / f"part-0.{data_format}"
            part.write_parquet(path) if data_format == "parquet" else part.write_csv(path)
        dataset[f"{split}_data"] = str(folder / split)
        table = arrow.dataset(folder / split, format=data_format, partitioning="hive").to_table()
        right[split] = pl.from_pandas(table.to_pandas().astype({key: object}))
    return dataset, right


VALUES = [
    ["2024-01-01", "2024-01-02"],
    ["1", "2", "10"],
    ["01", "2"],
    ["1", "x"],
    ["3000000000", "1"],
    ["-1", "+1"],
    ["a%20b", "c%2Fd", "e+f"],
    ["1.0", "1"],
    ["__HIVE_DEFAULT_PARTITION__", "1"],
    ["__HIVE_DEFAULT_PARTITION__", "x"],
    ["a=b", "c"],
]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("values", VALUES, ids=", ".join)
def test_a_column_of_the_folders_is_what_pyarrow_reads(tmp_path, values, data_format):
    """The cache is the one of files that hold the column themselves, as pyarrow gives it."""
    dataset, right = partitioned(tmp_path, values, data_format=data_format)
    assert right["train"]["day"].n_unique() == len(values)
    plain = write_dataset(tmp_path / "plain", right, dataset["feature_cols"], [label()], "parquet")
    assert_same(cached(open_cache(dataset)), cached(open_cache(plain)))


@pytest.mark.parametrize("data_format", FORMATS)
def test_numbers_and_groups_of_the_folders(tmp_path, data_format):
    dataset, right = partitioned(tmp_path, ["3", "12"], "hour", data_format, "float", "numeric")
    dataset["feature_cols"] = [
        *dataset["feature_cols"],
        feature("copy", preprocess="copy_from(hour)"),
        feature("raw", "meta", "int", preprocess="copy_from(hour)", remap=False),
    ]
    columns = cached(open_cache(dataset))["train"]
    hours = right["train"]["hour"].to_list()
    assert sorted(set(hours)) == [3, 12]
    assert columns["hour"].tolist() == hours
    assert columns["raw"].tolist() == hours
    assert len(set(zip(columns["copy"].tolist(), hours, strict=True))) == 2


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_column_that_the_file_has_is_the_files(tmp_path, data_format):
    dataset, _ = partitioned(tmp_path, ["1", "2"], "cat2", data_format)
    for path in Path(tmp_path).rglob("part-0.*"):
        read = pd.read_parquet if data_format == "parquet" else pd.read_csv
        frame = read(path).assign(cat2="mine")
        frame.to_parquet(path) if data_format == "parquet" else frame.to_csv(path, index=False)
    assert set(cached(open_cache(dataset))["train"]["cat2"].tolist()) == {1}


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_column_that_only_some_folders_name_is_missing_by_file(tmp_path, data_format):
    dataset, _ = partitioned(tmp_path, ["1", "2"], data_format=data_format)
    (tmp_path / "valid" / "day=2").rename(tmp_path / "valid" / "hour=2")
    with pytest.raises(DataError, match=r"hour=2/part-0\.\w+ \(valid\): there is no column 'day'"):
        open_cache(dataset)


def test_a_value_that_is_none_of_the_declared_type_is_named(tmp_path):
    dataset, _ = partitioned(tmp_path, ["1", "x"], data_format="csv", dtype="int")
    with pytest.raises(DataError, match="column 'day'.*'x'"):
        open_cache(dataset)


def test_one_folder_is_a_split_of_its_own(tmp_path):
    """And another value of it is another cache."""
    dataset, _ = partitioned(tmp_path, ["1", "2"], dtype="int")
    home = tmp_path / "train"
    first = open_cache(dataset | {"train_data": str(home / "day=1")})
    assert first.rows["train"] == 4
    (home / "day=1").rename(home / "day=7")
    second = open_cache(dataset | {"train_data": str(home / "day=7")})
    assert second.folder != first.folder
    assert cached(second)["train"]["day"].tolist() == [1] * 4
