"""Rows as a program has them, for a Scorer: every kind gives the same scores, or what is wrong is named."""

import json

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.errors import DataError
from tests.support.served import COLUMNS, GOOD, assert_scores

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.mark.parametrize(
    "kind",
    [
        "lazy polars",
        "pandas",
        "Arrow",
        "lists",
        "arrays",
        "rows",
        "tuple of rows",
        "other order and more columns",
    ],
)
def test_every_kind_of_rows(loaded, rows, kind):
    expected = {f"{k}_pred": v for k, v in loaded.score(rows).items()}
    lists = rows.to_dict(as_series=False)
    as_kind = {
        "lazy polars": rows.lazy(),
        "pandas": rows.to_pandas(),
        "Arrow": rows.to_arrow(),
        "lists": lists,
        "arrays": {**rows.to_dict(), "age": rows["age"].to_list(), "user": rows["user"].to_numpy()},
        "rows": rows.to_dicts(),
        "tuple of rows": tuple(rows.to_dicts()),
        "other order and more columns": {"more": 1, **dict(reversed(lists.items()))},
    }[kind]
    assert_scores(loaded.score(as_kind), expected)


def test_tokens_of_a_row_may_be_a_list(loaded, rows):
    row = rows.row(0, named=True) | {"tags": "t1^t2"}
    as_list = row | {"tags": ["t1", "t2"]}
    assert loaded.score(as_list) == loaded.score(row)
    columns = {name: [value, value] for name, value in as_list.items()}
    assert np.array_equal(loaded.score(columns)["like"], np.repeat(loaded.score(row)["like"], 2))


def test_whole_numbers_may_be_among_floats_as_in_json(loaded):
    ages = [1, 2.5, None, -3]
    rows = [{**GOOD, "age": age} for age in ages]
    expected = [loaded.score(row)["like"].item() for row in rows]
    as_columns = {name: [row[name] for row in rows] for name in GOOD}
    for several in (rows, as_columns, json.loads(json.dumps(rows))):
        np.testing.assert_allclose(loaded.score(several)["like"], expected, atol=1e-6)
    with pytest.raises(DataError, match="'user' mixes kinds"):
        loaded.score([{**GOOD, "user": 7}, {**GOOD, "user": 7.5}])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"user": ["u1"], "age": [1.0]}, ["'item'", "'tags'", "'author'"]),
        ({"user": "u1", "age": 1.0}, ["'item'", "'tags'", "'author'"]),
        ({}, COLUMNS),
        ([], ["There are no rows"]),
        ([{}], COLUMNS),
        ({"usr": "u1", "age": 1.0}, ["'user' (feature 'user'). Did you mean 'usr'?", "'author'"]),
        ([{"usr": "u1"}] * 2, ["'user' (feature 'user'). Did you mean 'usr'?", "'author'"]),
        (
            pl.DataFrame({"usr": ["u1"]}),
            ["'user' (feature 'user'). Did you mean 'usr'?", "'author'"],
        ),
        ([{"user": "u1"}, 7], ["row 2 must be a dict, found 7"]),
        ("run.parquet", ["found 'str'"]),
        (None, ["found 'NoneType'"]),
        (7, ["found 'int'"]),
    ],
)
def test_rows_that_lack_something(loaded, rows, said):
    with pytest.raises(DataError) as caught:
        loaded.score(rows)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": "old"}, ["'age'", "row 1", "'old'"]),
        ({"age": float("inf")}, ["'age'", "row 1", "inf"]),
        ({"age": "old", "user": {"a": 1}}, ["'user'", "Struct"]),
        ({"user": [["u1"]]}, ["'user'", "lists are for sequences"]),
        ({"user": b"u1"}, ["'user'", "Binary"]),
        ({"user": object()}, ["'user'", "Object"]),
    ],
)
def test_a_bad_value_is_named_alike_in_a_row_and_in_a_frame(loaded, change, said):
    row = GOOD | change
    texts = set()
    for rows in ([row], {name: [value] for name, value in row.items()}):
        with pytest.raises(DataError) as caught:
            loaded.score(rows)
        texts.add(str(caught.value))
    (text,) = texts
    for words in said:
        assert words in text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([GOOD, GOOD | {"age": "old"}, GOOD | {"age": "x"}], ["'age'", "mixes kinds of values"]),
        ([GOOD, {k: v for k, v in GOOD.items() if k != "item"}], ["row 2 lacks 'item'"]),
        ({**{k: [v] for k, v in GOOD.items()}, "item": ["i1", "i2"]}, ["'user' 1", "'item' 2"]),
        ({**{k: [v] for k, v in GOOD.items()}, "item": "i1"}, ["column 'item' must be a list"]),
        ({k: [] for k in GOOD}, ["There are no rows"]),
        (pl.DataFrame([GOOD]).clear(), ["There are no rows"]),
        (pl.DataFrame([GOOD]).to_pandas().iloc[:0], ["There are no rows"]),
        (
            {**{k: [v] * 3 for k, v in GOOD.items()}, "age": ["1", "old", "2"]},
            ["'age'", "row 2", "'old'"],
        ),
    ],
)
def test_columns_that_do_not_fit_together(loaded, rows, said):
    with pytest.raises(DataError) as caught:
        loaded.score(rows)
    for words in said:
        assert words in str(caught.value)
