"""Rows of any types: what is the same as in training has its ids, what may not be is rejected by name."""

import math
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding import vocabulary
from fuxictr_stem.data.encoding.encode import read_blocks
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import feature, with_labels, write_dataset

FEATURES = [
    feature("user"),
    feature("item", fill_na="b", min_categr_count=1),
    feature("twin", preprocess="copy_from(item)", fill_na="c"),
    feature("age", dtype="int", fill_na=-1),
    feature("price", dtype="float"),
    feature("num", "numeric", "float", normalizer="StandardScaler", fill_na=2.5),
    feature("mm", "numeric", "float", normalizer="MinMaxScaler"),
    feature("count", "numeric", "int"),
    feature("seq", "sequence", share_embedding="item", max_len=3),
    feature("pre", "sequence", padding="pre", fill_na="x", splitter=","),
    feature("group", "meta", "int", remap=False),
    feature("city", "meta"),
    feature("vec", "embedding", "float", pretrain_dim=2),
]
TRAIN = {
    "user": pl.Series([1, 22, 3, None, 1, 22], dtype=pl.Int64),
    "item": ["a", "b", None, "a", "é", "c"],
    "age": [7, -3, None, 7, 900, 2**60],
    "price": [0.1, 2.5, None, -0.0, 7.0, 0.1],
    "num": [1.5, None, -2.0, 3.0, 0.25, 9.0],
    "mm": [1.5, None, -2.0, 3.0, 0.25, 9.0],
    "count": [2, 1, None, 4, 0, 2**24 + 1],
    "seq": ["a^b", "", None, "b^^c^d", "a", "d^b"],
    "pre": ["x,y", "z", None, ",x", "y,y,y,z", "z"],
    "group": [2**40, -3, 5, 6, 7, 8],
    "city": ["p", "q", None, "p", "r", ""],
    "vec": [[0.5, 1.0]] * 6,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    frame = with_labels(TRAIN)
    dataset = write_dataset(
        tmp_path_factory.mktemp("values"),
        {"train": frame, "valid": frame},
        FEATURES,
        data_format="parquet",
        null_values=["NA"],
    )
    return open_cache(dataset).folder


@pytest.fixture(scope="module")
def encoder(folder):
    return RowEncoder.load(folder)


@pytest.fixture(scope="module", params=[1 << 19, 0], ids=["hashed", "searched"])
def rows(folder, request):
    """An encoder of rows whose vocabularies are small, or large enough to be searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_HASHED", request.param)
        yield RowEncoder.load(folder)


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def frame_of(columns):
    return pl.DataFrame({name: TRAIN[name] for name in TRAIN} | columns)


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


def test_keys_and_unknown(encoder):
    tokens, ids = encoder.keys("item")
    found = dict(zip(tokens.to_list(), ids.tolist(), strict=True))
    frame = pl.DataFrame({"item": tokens, "seq": tokens})
    assert encoder.encode(frame, ["item"])["item"].tolist() == list(found.values())
    assert {"a", "b", "c", "d", "é"} <= set(found)
    assert encoder.unknown("item") == encoder.unknown("seq") not in found.values()
    assert encoder.unknown("num") is None
    with pytest.raises(ConfigError, match="The numeric column 'num' has no vocabulary"):
        encoder.keys("num")


TEXT = st.sampled_from(["a", "b", "c", "é", "", "NA", "x", "1", "01", "1.0", "\ud800", "__OOV__"])
NUMBER = (
    st.sampled_from([0, 1, 22, 7, -3, 2**24 + 1, 2**53, 2**60, -(2**63), 2**63, 2**70])
    | st.integers(-5, 30)
    | st.sampled_from([0.1, 2.5, -0.0, 0.0, 1e300, 3.4028235e38, 3.40282355e38, 2.0**53, math.nan])
    | st.floats()
)
ANY = st.one_of(
    *(st.none(), TEXT, st.text("ab^,", max_size=7), NUMBER, st.booleans()),
    st.lists(TEXT | st.none(), max_size=5),
    st.lists(st.integers(0, 3) | st.floats(), max_size=3),
    st.sampled_from([np.str_("a"), np.int64(7), np.array([1.0, 2.0]), ("a", "b"), b"a", {"a": 1}]),
    st.sampled_from([Decimal("1"), date(2026, 1, 1), object(), [None], [[1]], [0.5, 1.0]]),
)
PLAIN = {
    "user": st.integers(0, 30) | st.none() | TEXT,
    "item": TEXT | st.none(),
    "age": st.integers(-5, 10) | st.none(),
    "price": st.sampled_from([0.1, 2.5, -0.0, 7.0]) | st.floats(-1e9, 1e9) | st.none(),
    "num": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.none(),
    "mm": st.floats(-1e9, 1e9) | st.integers() | st.none(),
    "count": st.integers(-(2**55), 2**55) | st.none(),
    "seq": st.text("abcz^", max_size=7) | st.lists(TEXT, max_size=5) | st.none(),
    "pre": st.text("xyz,", max_size=9) | st.none(),
    "group": st.integers(-(2**63), 2**63 - 1),
    "city": TEXT | st.none(),
    "vec": st.lists(st.floats(width=16), min_size=1, max_size=3) | st.just([0.1, 2.0]),
}


def outcome(encode):
    try:
        return encode()
    except DataError as error:
        return str(error)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_row_is_encoded_as_its_frame(encoder, rows, data):
    row = {}
    for name, plain in PLAIN.items():
        row[name] = data.draw(plain if data.draw(st.integers(0, 9)) else ANY)
    if not data.draw(st.integers(0, 9)):
        del row[data.draw(st.sampled_from(sorted(row)))]
    check_row(encoder, rows, row)


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(sorted(TRAIN)), value=ANY)
def test_any_value_is_encoded_as_its_frame(encoder, rows, name, value):
    names = [f for f in encoder.names if encoder.columns_needed([f]) == [name]]
    check_row(encoder, rows, {name: value}, names)


def check_row(encoder, rows, row, names=None):
    single = outcome(lambda: rows.encode_row(row, names))
    try:
        frame = pl.DataFrame([pl.Series(name, [value]) for name, value in row.items()])
    except Exception:  # noqa: BLE001  polars has many
        assert "cannot hold" in single
        return
    whole = outcome(lambda: encoder.encode(frame, names))
    if isinstance(whole, str):
        assert single == whole
    else:
        same(single, whole)


def test_plain_rows_need_no_frame(encoder, monkeypatch):
    row = {name: pl.Series(values)[1:2].to_list()[0] for name, values in TRAIN.items()}
    expected = encoder.encode_row(row)
    monkeypatch.setattr(RowEncoder, "encode", None)
    same(encoder.encode_row(row), expected)
    array = encoder.encode_row(row)["num"]
    array += 1
    assert encoder.encode_row(row)["num"] != array, "each call has arrays of its own"


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
