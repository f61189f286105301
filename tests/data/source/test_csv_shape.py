"""Which rows a CSV file has, and what has no single right reading."""

import numpy as np
import pandas as pd
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.csv_text import CLICK, SPARK, TITLES, dataset_of, read
from tests.support.datasets import cached, feature, label


def test_quotes_that_are_not_doubled_are_rejected_with_their_line(tmp_path):
    dataset = dataset_of(tmp_path, SPARK, [feature("user")], CLICK)
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    assert 'train.csv (train): line 2, at u1,"5\\" pad",1: a quoted field continues' in str(
        caught.value
    )
    assert 'set csv_escape ("\\\\" for a backslash)' in str(caught.value)
    assert "csv_quote: null" in str(caught.value)


def test_two_such_titles_in_6000_rows(tmp_path):
    rows = [f"u{i},t{i},{i % 2}" for i in range(6000)]
    rows[1000], rows[5000] = 'u,"5\\" pad",1', 'u,"7\\" tv",0'  # one click more
    dataset = dataset_of(tmp_path, "user,title,click\n" + "\n".join(rows), TITLES, CLICK)
    with pytest.raises(DataError, match="line 1,002, at"):
        open_cache(dataset)
    cache = open_cache(dataset | {"csv_escape": "\\"})
    assert cache.rows["train"] == 6000
    assert cache.labels["train"]["click"]["sum"] == 3001


@pytest.mark.parametrize("keys", [{}, {"missing": float("nan")}, {"missing": -1}, {"fill_na": 0}])
@pytest.mark.parametrize("text", ["a,y\na,1\n\nb,0\n", "\r\n\na,y\r\na,1\r\n\r\nb,0\r\n\r\n\r\n"])
def test_blank_lines_are_no_rows(tmp_path, keys, text):
    dataset = dataset_of(tmp_path, text, [feature("a")], [label(**keys)])
    cache = open_cache(dataset)
    assert cache.rows["train"] == len(pd.read_csv(dataset["train_data"])) == 2
    assert cached(cache)["train"]["y"].tolist() == [1, 0]


def test_a_quoted_empty_field_is_a_row_of_one_column_and_a_blank_line_is_not(tmp_path):
    # As csv.DictReader, pandas and pyarrow have it.
    features = [feature("x", preprocess="copy_from(y)")]
    dataset = dataset_of(tmp_path, 'y\n1\n\n""\n0\n', features, [label(missing=float("nan"))])
    y = read(dataset, tmp_path)["y"]
    np.testing.assert_array_equal(y, pd.read_csv(dataset["train_data"])["y"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'a,y,c\n1,1,2\n"x,0,3\n',
            'line 3, at "x,0,3: the quote opens a field that no quote closes',
        ),
        ('a,y,c\n"p\n""q",1,"2\n3,4,5\n', "line 3, at "),
        ('a,y,c\n1,1,"2" \n', 'line 2, at 1,1,"2" : a quoted field continues after a quote'),
        ('"a"b,y,c\n1,1,2\n', 'line 1, at "a"b,y,c: a quoted field continues after a quote'),
        ("a,y,c\n1,1,2\rx,0,3\n", "line 2, at '1,1,2\\rx,0,3': a CR without LF, outside of quotes"),
    ],
)
def test_files_without_one_right_reading(tmp_path, text, line):
    with pytest.raises(DataError) as caught:
        read(dataset_of(tmp_path, text), tmp_path)
    assert f"train.csv (train): {line}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,y,c\nx\\z,1,2\n", "line 2, at x\\z,1,2: the escape character is before a character"),
        ("a,y,c\nx,1,2\\", "line 2, at x,1,2\\: the file ends after an escape"),
        ('a,y,c\n"x"z,1,2\n', "Escape or double a quote within a quoted value."),
    ],
)
def test_escapes_that_readers_differ_on(tmp_path, text, says):
    with pytest.raises(DataError) as caught:
        read(dataset_of(tmp_path, text, csv_escape="\\"), tmp_path)
    assert says in str(caught.value)


def test_a_value_longer_than_a_block_and_rows_around_it(tmp_path):
    long = "x" * 5_000_000
    dataset = dataset_of(tmp_path, f'a,y,c\n1,1,"{long}\n{long}"\n2,0,3\n')
    assert read(dataset, tmp_path)["c"].str.len_bytes().to_list() == [10_000_001, 1]
    # With a row too long for its block, the second reader once said nothing.
    with pytest.raises(DataError, match="another number of fields"):
        read(dataset_of(tmp_path, f'a,y,c\n1,1,"{long}\n{long}",4\n2,0,3\n'), tmp_path)
