"""Frames of any types: what is the same as in training has its ids, what may not be is rejected by name."""

import math
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.rows_of_all_types import TRAIN, frame_of, same

SAME = {
    "categorical": {"item": pl.Series(TRAIN["item"], dtype=pl.Categorical)},
    "enum": {"item": pl.Series(TRAIN["item"], dtype=pl.Enum(["é", "c", "b", "a", "never"]))},
    "whole numbers of another size": {"user": TRAIN["user"].cast(pl.UInt8)},
    "text of the numbers": {"user": TRAIN["user"].cast(pl.String)},
    "categories of the numbers": {"user": TRAIN["user"].cast(pl.String).cast(pl.Categorical)},
    "floats of whole numbers": {"user": TRAIN["user"].cast(pl.Float64)},
    "small floats of whole numbers": {"user": TRAIN["user"].cast(pl.Float32)},
    "decimals of whole numbers": {"user": TRAIN["user"].cast(pl.Decimal(10, 0))},
    "large whole numbers": {"user": TRAIN["user"].cast(pl.Int128)},
    "numbers as text": {"age": [str(v) if v else v for v in TRAIN["age"]]},
    "a text that means that there is none": {"item": ["a", "b", "NA", "a", "é", "c"]},
    "floats for int": {"age": pl.Series(TRAIN["age"][:4] + [900.0, None], dtype=pl.Float64)},
    "lists": {"seq": [None if v is None else v.split("^") for v in TRAIN["seq"]]},
    "lists of categories": {
        "pre": pl.Series(
            [None if v is None else v.split(",") for v in TRAIN["pre"]],
            dtype=pl.List(pl.Categorical),
        )
    },
    "arrays": {"vec": pl.Series(TRAIN["vec"], dtype=pl.Array(pl.Float64, 2))},
    "vectors of whole numbers": {"vec": [[1, 2]] * 6},
    "nothing": {
        name: pl.Series([None] * 6, dtype=pl.Null)
        for name in ("user", "item", "age", "price", "num", "count", "seq", "city")
    },
    "empty lists": {"seq": pl.Series([[]] * 6, dtype=pl.List(pl.Null))},
}


# What the same values are in the types of training, where they are others than those of train.
MEANT = {
    "floats for int": {"age": TRAIN["age"][:4] + [900, None]},
    "vectors of whole numbers": {"vec": [[1.0, 2.0]] * 6},
    "nothing": {
        name: pl.Series([None] * 6, dtype=pl.Series(TRAIN[name]).dtype) for name in SAME["nothing"]
    },
    "empty lists": {"seq": [None] * 6},
}


@pytest.mark.parametrize("case", SAME)
def test_one_value_has_one_id_in_every_type(encoder, case):
    expected = encoder.encode(frame_of(MEANT.get(case, {})))
    frame = frame_of(SAME[case])
    same(encoder.encode(frame), expected)
    turned = frame.select(reversed(frame.columns)).with_columns(y=1.0, other=pl.lit("b"))
    same(encoder.encode(turned), expected)
    for chunks in (frame[:2], frame[2:]):
        assert all(len(array) == len(chunks) for array in encoder.encode(chunks).values())
    assert all(len(array) == 0 for array in encoder.encode(frame[:0]).values())


WRONG = {
    "floats that are not whole": (
        {"user": [1.0, 2.5, None, 3.0, 1.0, 1.5]},
        r"column 'user' is not a whole number \(int\) in 2 rows; first in row 2, value 2.5.*Int64",
    ),
    "NaN": (
        {"user": [1.0, math.nan] * 3},
        r"column 'user' is NaN in 3 rows; first in row 2.*Int64",
    ),
    "floats beyond whole numbers": (
        {"user": [2.0**60] * 6},
        "neighbouring ids become equal in 6 rows",
    ),
    "dates": ({"item": [date(2026, 1, 1)] * 6}, "was text in training, found Date"),
    "truths": ({"user": [True, False] * 3}, "was int in training, found Boolean"),
    "floats for text": ({"item": [1.0] * 6}, r"was text in training, found Float64.*Int64"),
    "lists of floats": ({"seq": [[1.0]] * 6}, "was text in training, found List"),
    "small floats": ({"price": pl.Series([0.1] * 6, dtype=pl.Float32)}, "was double in training"),
    "fractions": ({"age": [1.5] * 6}, "is not a whole number .int. in 6 rows"),
    "words": ({"num": ["x", "1"] * 3}, "'num' is not a number .float. in 3 rows; first in row 1"),
    "infinite": ({"num": [math.inf] * 6}, "NaN, infinite or beyond float32 in 6 rows"),
    "no group": ({"group": pl.Series([None, 1] * 3)}, None),
    "a list for a value": ({"item": [["a"]] * 6}, "lists are for sequences"),
    "structs": ({"item": [{"a": 1}] * 6}, "is declared str, found Struct"),
    "objects": ({"item": pl.Series([object()] * 6, dtype=pl.Object)}, "found Object"),
    "a vector too long": ({"vec": [[1.0, 2.0, 3.0]] * 6}, "no vector of 2 finite numbers"),
    "scaled beyond float32": ({"mm": [3e38] * 6}, None),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_may_not_be_is_rejected_by_name(encoder, case):
    columns, message = WRONG[case]
    frame = frame_of(columns)
    if message is None:
        encoder.encode(frame)
        return
    with pytest.raises(DataError, match=message):
        encoder.encode(frame)


def test_all_problems_are_in_one_message(encoder):
    frame = frame_of({"item": [1.5] * 6, "num": ["x"] * 6}).rename({"user": "usr", "pre": "other"})
    with pytest.raises(DataError) as caught:
        encoder.encode(frame)
    text = str(caught.value)
    assert "3 problems" in text
    assert "no column 'user' (feature 'user'). Did you mean 'usr'?" in text
    assert "no column 'pre'" in text
    assert "'item': was text in training, found Float64" in text
    with pytest.raises(DataError) as caught:
        encoder.encode(frame_of({"age": [1.5] * 6, "num": ["x"] * 6}))
    assert "2 problems" in str(caught.value)
    assert encoder.columns_needed(["twin", "num"]) == ["item", "num"]
    with pytest.raises(ConfigError, match="no feature 'usr'. Did you mean 'user'"):
        encoder.encode(frame, ["usr"])


def test_only_what_the_features_need_is_read(encoder):
    frame = frame_of({})
    expected = encoder.encode(frame)
    same(encoder.encode(frame.select("item"), ["twin"]), {"twin": expected["twin"]})
    same(encoder.encode(frame.select("seq"), ["seq"]), {"seq": expected["seq"]})
    assert encoder.encode(frame, []) == {}


def test_rows_in_files_are_read_in_the_same_ways(encoder, tmp_path):
    frame = frame_of({"user": SAME["floats of whole numbers"]["user"]})
    frame.write_parquet(tmp_path / "a.parquet")
    blocks = read_blocks(encoder, [tmp_path / "a.parquet"], encoder.names)
    same(next(blocks).arrays, encoder.encode(frame))
    frame.with_columns(item=pl.lit(1.5)).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet .data.: column 'item': was text in training"):
        list(read_blocks(encoder, [tmp_path / "a.parquet", tmp_path / "b.parquet"], encoder.names))
    text = frame_of({}).drop("vec", "seq", "pre").with_columns(user=pl.Series(["1", "NA", "x"] * 2))
    text.write_csv(tmp_path / "c.csv")
    names = ["user", "item", "age", "price", "num", "group"]
    same(
        next(read_blocks(encoder, [tmp_path / "c.csv"], names)).arrays, encoder.encode(text, names)
    )
    with pytest.raises(DataError, match="names of files must all end with"):
        list(read_blocks(encoder, [tmp_path / "a.parquet", tmp_path / "c.csv"], names))
    assert not list(Path(tmp_path).glob("*.arrow"))
