"""The columns of each file are those that the config reads, or all that is wrong is named."""

from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.errors import DataError
from tests.support.csv_text import dataset_of
from tests.support.datasets import feature, with_labels, write_dataset
from tests.support.faulty_sources import FEATURES, ROWS, message, rewrite, small


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_missing_columns(tmp_path, data_format):
    features = [*FEATURES, feature("g", "meta", preprocess="copy_from(catt)")]
    change = {"test": with_labels(ROWS).rename({"num": "numb"}).drop("y")}
    found = message(small(tmp_path, data_format, features, change))
    assert (
        f"train.{data_format} (train): there is no column 'catt' (copied by feature 'g')" in found
    )
    assert "Did you mean 'cat'?" in found
    assert "(test): there is no column 'num' (feature 'num'). Did you mean 'numb'?" in found
    assert "(test): there is no column 'y' (label 'y')." in found
    assert "5 problems" in found


def test_columns_that_nobody_declares_do_not_matter(tmp_path):
    # Neither in parts of one split nor between splits.
    more = with_labels(ROWS).with_columns(extra=pl.lit("x"))
    dataset = small(tmp_path, change={"valid": more.select(reversed(more.columns))})
    assert open_cache(dataset).rows["valid"] == 4


def test_a_wrong_separator(tmp_path):
    found = message(small(tmp_path) | {"sep": "\t"})
    assert "its header 'cat,num,n,y' is one column: is sep '\\t' right?" in found
    # That alone: twenty columns that are not there would hide it.
    assert "there is no column" not in found


def test_a_header_of_blank_lines(tmp_path):
    dataset = small(tmp_path)
    Path(dataset["valid_data"]).write_text("\n\n")
    found = message(dataset)
    assert found.endswith(
        "(valid): it has only blank lines. Write the column names as its first line."
    )


def test_doubled_header(tmp_path):
    dataset = small(tmp_path)
    rewrite(dataset["valid_data"], b"num,n,", b"num,num,")
    assert "valid.csv (valid): its header names column 'num' 2 times" in message(dataset)


def test_no_parquet_file(tmp_path):
    dataset = small(tmp_path, "parquet")
    Path(dataset["test_data"]).write_bytes(b"PAR1 is not enough")
    assert "test.parquet (test): cannot be read as parquet" in message(dataset)


@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        ("cat", [["a"]] * 4, "lists are for sequences"),
        ("n", pl.Series([0] * 4).cast(pl.Date), "declare str, or store a number"),
        ("cat", [{"a": 1}] * 4, "is declared str, found Struct"),
        ("cat", [b"a"] * 4, "is declared str, found Binary"),
        ("y", [[1.0]] * 4, "label 'y'"),
    ],
)
def test_parquet_types_that_cannot_be_read(tmp_path, column, values, text):
    frame = with_labels(ROWS).with_columns(pl.Series(column, values))
    assert text in message(small(tmp_path, "parquet", change={"train": frame}))


def test_one_token_two_texts(tmp_path):
    # pandas turns integers with a missing value into floats: then 1 is '1' here and '1.0' there.
    frame = with_labels(ROWS).with_columns(pl.col("n").cast(pl.Float64))
    dataset = small(tmp_path, "parquet", [feature("n")], {"valid": frame})
    found = message(dataset)
    assert "column 'n' is Int64 in" in found
    assert "Float64 in" in found
    dataset["feature_cols"] = [feature("n", dtype="int")]
    assert open_cache(dataset).rows["valid"] == 4


@pytest.mark.parametrize(
    ("text", "sep", "says"),
    [
        (
            "sep=,\na,y,c\nx,1,2\n",
            ",",
            "its first line 'sep=,' is for Excel. Delete that line, and ",
        ),
        ("sep=;\na;y;c\nx;1;2\n", ",", 'write sep: ";" in the config'),
        ("a\ty\tc\nx\t1\t2\n", ",", "is one column: is sep ',' right? Write sep: \"\\t\", or "),
    ],
)
def test_a_wrong_separator_is_reported_with_the_right_one(tmp_path, text, sep, says):
    with pytest.raises(DataError) as caught:
        open_cache(dataset_of(tmp_path, text, sep=sep))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("data_format", "value", "more", "told"),
    [
        ("csv", "a^b", {}, True),
        ("parquet", "a^b", {}, True),
        ("parquet", ["a", "b"], {}, False),
        ("csv", "a^b", {"splitter": "^"}, False),
    ],
)
def test_a_sequence_without_a_splitter_is_reported(
    tmp_path, caplog, data_format, value, more, told
):
    frame = with_labels({"s": [value, value], "t": [value, value]})
    features = [feature("s", "sequence", **more), feature("t", "sequence", splitter="^")]
    frames = dict.fromkeys(("train", "valid", "test"), frame)
    dataset = write_dataset(tmp_path, frames, features, data_format=data_format)
    open_source(plan_columns(dataset), find_files(dataset))
    assert ("Column s is a sequence without a splitter: '^' is assumed" in caplog.text) == told
    assert "Column t" not in caplog.text
