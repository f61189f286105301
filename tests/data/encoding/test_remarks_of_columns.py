"""Columns that make training go wrong are named with the cure, in built and in opened caches."""

import numpy as np
import pytest
import yaml

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.encode import Tally
from tests.support.datasets import feature, with_labels, write_dataset

RNG = np.random.default_rng(5)


def texts(folder, columns, features, data_format="csv", valid=None):
    """Build a cache and open it again: the remarks by column, which must be the same both times."""
    frames = {"train": with_labels(columns), "valid": with_labels(valid or columns)}
    found = []
    for _ in range(2):
        cache = open_cache(write_dataset(folder, frames, features, data_format=data_format))
        found.append([tuple(remark) for remark in cache.remarks])
    assert found[0] == found[1]
    assert len({column for _, column, _ in found[0]}) == len(found[0]), "one remark a column"
    return {column: text for _, column, text in found[0]}


def price(mean, deviation, rows=1000):
    """Numbers of exactly this mean and deviation."""
    values = RNG.normal(size=rows)
    return mean + deviation * (values - values.mean()) / values.std()


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_numbers_out_of_scale_are_named_with_mean_and_deviation(tmp_path, data_format):
    columns = {
        "price": price(523.5, 120.5),
        "far": price(-10.1, 1),
        "wide": price(0, 10.1),
        "near": price(9.9, 9.9),
        "id": np.arange(1000),
    }
    scaled = [
        feature(f"{name}_{scaler}", "numeric", "float", normalizer=scaler)
        for name in ("price",)
        for scaler in ("StandardScaler", "MinMaxScaler")
    ]
    columns |= {col["name"]: columns["price"] for col in scaled}
    columns["declared"] = columns["id"]
    features = [feature(name, "numeric", "float") for name in ("price", "far", "wide", "near")]
    features += [
        feature("id", "numeric", "int"),
        feature("declared", "categorical", "int"),
        *scaled,
    ]
    features.append(feature("copy", "numeric", "float", preprocess="copy_from(price)"))
    found = texts(tmp_path, columns, features, data_format)
    assert set(found) == {"price", "far", "wide", "id", "copy"}
    assert "mean 523.5 and standard deviation 120.5," in found["price"]
    assert "mean -10.1 and standard deviation 1," in found["far"]
    assert f"mean 499.5 and standard deviation {np.arange(1000).std():.4g}," in found["id"]
    assert "Set normalizer: StandardScaler, or type: categorical if they are ids" in found["id"]


def test_blocks_add_up_to_the_mean_and_deviation_of_all():
    values = np.concatenate([price(1e9, 3, 700), price(1e9 + 50, 7, 1300)])
    tally = Tally()
    for block in np.array_split(values, [0, 1, 500, 500, 1999]):
        tally.count_numbers(block)
    count, mean, squares = tally.numbers
    assert (count, mean) == (2000, pytest.approx(values.mean()))
    assert np.sqrt(squares / count) == pytest.approx(values.std(), rel=1e-9)


def test_vectors_out_of_scale_are_named(tmp_path):
    columns = {"v": [[300.0, 0.0]] * 8, "w": [[1.0, -1.0]] * 8}
    features = [feature(name, "embedding", "float", pretrain_dim=2) for name in "vw"]
    found = texts(tmp_path, columns, features, "parquet")
    assert set(found) == {"v"}
    assert "mean 150 and standard deviation 150, and nothing scales them. Scale the" in found["v"]


def with_missing(share, values):
    values = [float(value) for value in values]
    return [None if i < round(share * len(values)) else v for i, v in enumerate(values)]


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_missing_numbers_are_named_with_the_mean_of_the_others(tmp_path, data_format, split):
    ones = np.tile([1.0, 3.0, 5.0, 7.0], 250)
    gaps = {"much": with_missing(0.02, ones), "little": with_missing(0.01, ones)}
    gaps["own"] = gaps["much"]
    full = dict.fromkeys(gaps, ones)
    gaps["whole"] = [None if value is None else int(value) for value in gaps["much"]]
    full["whole"] = ones.astype(int)
    train, valid = (gaps, full) if split == "train" else (full, gaps)
    features = [feature(name, "numeric", "float") for name in gaps]
    features[2]["fill_na"] = 3.5
    features[3] |= {"dtype": "int", "normalizer": "StandardScaler"}
    found = texts(tmp_path, train, features, data_format, valid)
    assert set(found) == {"much", "whole"}
    assert f"'much': 2.0 % of {split} has no value and becomes 0.0." in found["much"]
    others = np.mean([value for value in train["much"] if value is not None])
    assert (
        f"Set fill_na to the number that you want, such as {others:.4g}, the mean" in found["much"]
    )
    assert f"2.0 % of {split} has no value and becomes 0." in found["whole"]


def test_a_fill_value_that_rows_hold_too_is_one_remark_with_both(tmp_path):
    values = with_missing(0.5, [0.0] * 90 + [2.0] * 10)
    found = texts(tmp_path, {"n": values}, [feature("n", "numeric", "float")])
    assert list(found) == ["n"]
    assert (
        "100 rows without a value become 0.0, which 80 rows hold as a real value. Set a fill_na that no "
        "row holds, such as -1. They are 50.0 % of train." in found["n"]
    )
    # Few of them: then only that some are taken for others is worth a word.
    few = texts(tmp_path / "few", {"n": [None] + [0.0] * 199}, [feature("n", "numeric", "float")])
    assert "2 rows without a value become 0.0, which 398 rows hold" in few["n"]


SEQUENCES = [
    ("a|b|c", None, "'|'"),
    ("a,b", None, "','"),
    ("a;b", "|", "';'"),
    ("a|b", ",", "'|'"),
    ("a^b", None, None),
    ("a|b", "|", None),
    ("a b", None, None),
    ("a, b^c^d^e", None, None),
    ("a|b;c", ",;|", None),
]


@pytest.mark.parametrize(("value", "splitter", "said"), SEQUENCES)
def test_sequences_with_another_separator_are_named(tmp_path, value, splitter, said):
    """Half and a bit of the values hold it; one that is missing is none."""
    values = [value] * 51 + ["x"] * 49 + [None] * 20
    column = feature("s", "sequence", **({"splitter": splitter} if splitter else {}))
    found = texts(tmp_path, {"s": values}, [column])
    if said is None:
        assert found == {}
        return
    assert f"51.0 % of its values in train hold {said}" in found["s"]
    assert f"its splitter is {splitter or '^'!r}" in found["s"]
    cure = yaml.safe_load(found["s"].partition("Set ")[2].rstrip("."))
    assert texts(tmp_path / "cured", {"s": values}, [column | cure]) == {}


def test_half_of_the_values_is_not_over_half(tmp_path):
    assert texts(tmp_path, {"s": ["a|b", "x"] * 10}, [feature("s", "sequence")]) == {}


def test_lists_of_a_parquet_file_need_no_splitter(tmp_path):
    values = [["a|b", "c,d"], ["e|f"]] * 5
    assert texts(tmp_path, {"s": values}, [feature("s", "sequence")], "parquet") == {}
    assert "s" in texts(
        tmp_path / "text", {"s": ["a|b"] * 10}, [feature("s", "sequence")], "parquet"
    )
