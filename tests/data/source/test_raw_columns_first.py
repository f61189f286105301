"""The first rows of a split are those that training reads, whatever holds them."""

import gzip

import polars as pl
import pytest

from fuxictr_stem.data.source.raw_columns import first_rows
from fuxictr_stem.errors import DataError
from tests.support.datasets import feature, label, write_dataset

ROWS = pl.DataFrame(
    {
        "text": ["a", 'quoted "b", with\ntwo lines', None, "", "ü"],
        "number": [1.5, None, -2.0, 1e300, 0.0],
        "count": [7, 2**40, None, -1, 0],
        "unused": [1, 2, 3, 4, 5],
        "y": [0.0, 1.0, 0.0, 1.0, 0.0],
    }
)
FEATURES = [
    feature("text"),
    feature("number", "numeric", "float"),
    feature("count", dtype="int", fill_na=0),
    feature("copy", preprocess="copy_from(text)"),
    feature("unread"),
]
NAMES = ["text", "number", "count", "copy"]


def dataset(folder, data_format="csv", **more):
    frames = {"train": ROWS.head(2), "valid": ROWS.reverse(), "test": ROWS}
    return write_dataset(folder, frames, FEATURES, [label()], data_format, **more)


def test_rows_of_a_csv_file(tmp_path):
    rows = first_rows(dataset(tmp_path), NAMES, 4, tmp_path)
    expected = ROWS.head(4).select("text", "number", "count")
    assert rows.columns == expected.columns
    assert rows.equals(expected, null_equal=True)
    assert not list(tmp_path.glob("*tmp-*"))


def test_rows_of_a_parquet_file(tmp_path):
    rows = first_rows(dataset(tmp_path, "parquet"), NAMES, 3, tmp_path)
    assert rows.equals(ROWS.head(3).select("text", "number", "count"), null_equal=True)


def test_more_rows_than_there_are(tmp_path):
    assert first_rows(dataset(tmp_path), NAMES, 99, tmp_path).height == 5


def test_no_more_is_read_than_needed(tmp_path):
    """What follows the rows may be anything: the file is not read to its end."""
    made = dataset(tmp_path)
    with (tmp_path / "test.csv").open("a") as file:
        file.write('"an open quote\n' * 9)
    assert first_rows(made, NAMES, 2, tmp_path).height == 2


def test_valid_where_there_is_no_test(tmp_path):
    made = {**dataset(tmp_path), "test_data": None}
    assert first_rows(made, ["count"], 2, tmp_path)["count"].to_list() == [0, -1]


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_a_column_that_the_folders_hold(tmp_path, data_format):
    made = dataset(tmp_path, data_format)
    for day in (3, 4):
        folder = tmp_path / "parts" / f"count={day}"
        folder.mkdir(parents=True)
        frame = ROWS.drop("count")
        if data_format == "csv":
            frame.write_csv(folder / "part.csv")
        else:
            frame.write_parquet(folder / "part.parquet")
    made["test_data"] = str(tmp_path / "parts")
    rows = first_rows(made, NAMES, 2, tmp_path)
    assert rows["count"].to_list() == [3, 3]
    assert rows["number"].to_list() == [1.5, None]


def test_zipped_and_tab_separated(tmp_path):
    made = dataset(tmp_path, sep="\t")
    path = tmp_path / "test.csv"
    zipped = tmp_path / "test.csv.gz"
    zipped.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    made["test_data"] = str(zipped)
    assert first_rows(made, NAMES, 2, tmp_path)["number"].to_list() == [1.5, None]


def test_lists_of_a_parquet_file(tmp_path):
    rows = ROWS.with_columns(
        vector=pl.Series([[0.5, 1.0]] * 5), tags=pl.Series([["a"], []] + [None] * 3)
    )
    features = [
        feature("vector", "embedding", "float", pretrain_dim=2),
        feature("tags", "sequence", max_len=2),
    ]
    made = write_dataset(tmp_path, {"train": rows, "valid": rows}, features, None, "parquet")
    found = first_rows(made, ["vector", "tags"], 3, tmp_path)
    assert found.equals(rows.head(3).select("vector", "tags"), null_equal=True)


def test_files_that_are_gone_are_named(tmp_path):
    made = dataset(tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(DataError, match="test.csv"):
        first_rows(made, NAMES, 2, tmp_path)
