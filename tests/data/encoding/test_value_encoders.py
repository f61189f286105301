"""Rows of any values: one by one they are encoded as their frame is, or rejected in its words."""

import math
from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.encoding import vocabulary
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import DataError
from tests.support.rows_of_all_types import TRAIN, same


@pytest.fixture(scope="module", params=[1 << 19, 0], ids=["hashed", "searched"])
def rows(folder, request):
    """An encoder of rows whose vocabularies are small, or large enough to be searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_HASHED", request.param)
        yield RowEncoder.load(folder)


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
