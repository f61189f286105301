"""Whole numbers of parquet files that are declared text have the ids of their text in a CSV file."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding import vocabulary
from fuxictr_stem.data.encoding.vocabulary import lookup
from tests.support.datasets import (
    SPLITS,
    assert_same,
    cached,
    feature,
    fuxictr_says,
    with_labels,
    write_dataset,
)

FILLS = st.sampled_from([{}, {"fill_na": "7"}, {"fill_na": "07"}, {"fill_na": "x"}])
NUMBERS = st.one_of(
    st.none(), st.integers(-3, 9), st.sampled_from([2**62, -(2**63), 2**63 - 1, 40_000_000])
)


def open_as(folder, data_format, columns, features, **more):
    dataset = write_dataset(folder, columns, features, data_format=data_format, **more)
    return dataset, open_cache(dataset)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    values=st.tuples(*[st.lists(NUMBERS, min_size=6, max_size=12) for _ in SPLITS]),
    fills=st.tuples(FILLS, FILLS, FILLS),
    least=st.integers(1, 2),
)
def test_numbers_have_the_ids_of_their_text(tmp_path_factory, values, fills, least):
    folder = tmp_path_factory.mktemp("numbers")
    columns = {
        split: with_labels(
            {"n": pl.Series(v, dtype=pl.Int64), "t": ["7", "a", "7"] * 2 + ["a"] * (len(v) - 6)}
        )
        for split, v in zip(SPLITS, [[5, 5, *v] for v in values], strict=True)
    }
    features = [
        feature("before", "meta", preprocess="copy_from(n)", **fills[0]),
        feature("n", **fills[1]),
        feature("t", share_embedding="n"),
        feature("after", preprocess="copy_from(n)", **fills[2]),
    ]
    caches = [
        open_as(folder / data_format, data_format, columns, features, min_categr_count=least)
        for data_format in ("csv", "parquet")
    ]
    (dataset, text), (_, numbers) = caches
    assert_same(cached(numbers), fuxictr_says(dataset, folder / "oracle")[0])
    found, expected = cached(numbers), cached(text)
    for split in SPLITS:
        for name, ids in expected[split].items():
            assert found[split][name].dtype == ids.dtype
    for name in ("feature_vocab.json", "feature_map.json"):
        assert json.loads((numbers.folder / name).read_text()) == json.loads(
            (text.folder / name).read_text()
        )
    assert (numbers.unknown, numbers.remarks) == (text.unknown, text.remarks)


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt32, pl.Int64, pl.UInt64])
def test_types_of_whole_numbers(tmp_path, dtype):
    values = [1, 1, 2, 100, None, 3]
    columns = {s: with_labels({"n": pl.Series(values, dtype=dtype)}) for s in SPLITS}
    dataset, _ = open_as(tmp_path / "csv", "csv", columns, [feature("n")])
    _, cache = open_as(tmp_path / "parquet", "parquet", columns, [feature("n")])
    assert_same(cached(cache), fuxictr_says(dataset, tmp_path / "oracle")[0])


def test_numbers_in_one_file_and_text_in_another(tmp_path):
    columns = {s: with_labels({"n": [1, 1, 2, None]}) for s in SPLITS}
    columns["valid"] = columns["valid"].with_columns(n=pl.Series(["1", "01", "x", None]))
    dataset, _ = open_as(tmp_path / "csv", "csv", columns, [feature("n")])
    _, cache = open_as(tmp_path / "parquet", "parquet", columns, [feature("n")])
    assert_same(cached(cache), fuxictr_says(dataset, tmp_path / "oracle")[0])


@pytest.mark.parametrize("entries", [1 << 20, 0])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_lookup_of_numbers(monkeypatch, entries, dtype):
    monkeypatch.setattr(vocabulary, "_ENTRIES", entries)
    rng = np.random.default_rng(3)
    keys = rng.permutation(np.unique(rng.integers(-5000, 5000, 300))).astype(dtype)
    ids = np.arange(1, len(keys) + 1, dtype=np.uint16)
    numbers = rng.integers(-6000, 6000, 5000).astype(dtype)
    edges = np.array([-(2**63), 2**63 - 1024, 0]).astype(dtype)
    numbers = np.concatenate([numbers, edges])
    expected = dict(zip(keys.tolist(), ids.tolist(), strict=True))
    found = lookup(keys, ids, np.uint16(9999))(numbers)
    assert found.dtype == np.uint16
    assert found.tolist() == [expected.get(number, 9999) for number in numbers.tolist()]
    assert lookup(keys[:0], ids[:0], np.uint16(4))(numbers).tolist() == [4] * len(numbers)
