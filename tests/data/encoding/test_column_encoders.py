"""How a column of filled values becomes an array."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.column_encoders import Feature, Normalizer, column_encoder
from fuxictr_stem.data.encoding.vocabulary import Vocabulary
from fuxictr_stem.errors import DataError
from tests.support.datasets import feature, with_labels, write_dataset


def test_overflow_of_a_normalizer_is_rejected(tmp_path):
    # Finite in float32 as it is, beyond it after the scaling.
    train = with_labels({"num": [0.0, 1e-30, 2e-30]})
    valid = with_labels({"num": [1e30, 0.0]})
    features = [feature("num", "numeric", "float", normalizer="MinMaxScaler")]
    dataset = write_dataset(tmp_path, {"train": train, "valid": valid}, features)
    with pytest.raises(DataError, match="column 'num': a value is beyond float32 after"):
        open_cache(dataset)


@given(
    rows=st.lists(st.lists(st.sampled_from("abcxp"), max_size=6), min_size=1, max_size=5),
    length=st.integers(1, 4),
    pre=st.booleans(),
    padding=st.sampled_from([None, "p"]),
)
def test_sequences_are_cut_looked_up_and_padded(rows, length, pre, padding):
    words = Vocabulary.of({"__PAD__": 0, "a": 1, "b": 2, "c": 3, "__OOV__": 4})
    feature = Feature("s", "sequence", "str", length, vocabulary=0, pre=pre, padding=padding)
    encoder = column_encoder(feature, words, rows=100)
    frame = pl.DataFrame({"s": rows}, schema={"s": pl.List(pl.String)})
    array = encoder.finish(frame.select(encoder.query(pl.col("s")))["s"])
    ids = {"a": 1, "b": 2, "c": 3, **({padding: 0} if padding else {})}
    for tokens, encoded in zip(rows, array.tolist(), strict=True):
        kept = [ids.get(token, 4) for token in (tokens[-length:] if pre else tokens[:length])]
        zeros = [0] * (length - len(kept))
        assert encoded == (zeros + kept if pre else kept + zeros)


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler])
def test_numbers_are_scaled_as_scikit_learn_scales_them(scaler):
    numbers = np.array([3.25, -1e6, 0.0, 7.5, 1e-9])
    fitted = scaler().fit(numbers[:, None])
    offset = fitted.mean_ if scaler is StandardScaler else fitted.min_
    normalizer = Normalizer(scaler.__name__, float(offset[0]), float(fitted.scale_[0]))
    expected = fitted.transform(numbers[:, None])[:, 0]
    np.testing.assert_array_equal(normalizer.of(numbers), expected)
    assert [normalizer.of(float(number)) for number in numbers] == expected.tolist()
