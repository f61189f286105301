"""A small dataset with columns of all types, and frames of its rows."""

import numpy as np
import polars as pl

from tests.support.datasets import feature

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


def same(arrays, others):
    """Check that arrays are equal, by name and of the same types."""
    assert list(arrays) == list(others)
    for name in arrays:
        assert arrays[name].dtype == others[name].dtype, name
        np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)


def frame_of(columns):
    """Return the rows of train as a frame, some columns replaced."""
    return pl.DataFrame({name: TRAIN[name] for name in TRAIN} | columns)
