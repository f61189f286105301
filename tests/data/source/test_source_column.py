"""Parquet types that would give one value two ids are rejected: between files, splits and columns."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.datasets import SPLITS, cached, feature, with_labels, write_dataset

NOON = datetime(2024, 5, 1, 12)


def column(value, dtype):
    return pl.Series("x", [value] * 2).cast(dtype)


def message(dataset):
    with pytest.raises(DataError) as caught:
        open_cache(dataset)
    return str(caught.value)


def two_types(folder, one, other, features, where="valid"):
    """Write train with one type and another split, or another part of train, with the other."""
    folder.mkdir(exist_ok=True)
    frames = dict.fromkeys(SPLITS, with_labels({"x": one}))
    if where != "part":
        frames |= {where: with_labels({"x": other})}
    dataset = write_dataset(folder, frames, features, data_format="parquet")
    if where == "part":
        parts = folder / "parts"
        parts.mkdir()
        with_labels({"x": one}).write_parquet(parts / "0.parquet")
        with_labels({"x": other}).write_parquet(parts / "1.parquet")
        dataset["train_data"] = str(parts)
    return dataset


UNLIKE = {
    "units": (column(NOON, pl.Datetime("us")), column(NOON, pl.Datetime("ns"))),
    "date": (column(date(2024, 5, 1), pl.Date), column(NOON, pl.Datetime("us"))),
    "zone": (column(NOON, pl.Datetime("us")), column(NOON, pl.Datetime("us", "UTC"))),
    "zones": (
        column(NOON, pl.Datetime("us", "Asia/Tokyo")),
        column(NOON, pl.Datetime("us", "UTC")),
    ),
    "time": (column(NOON, pl.Datetime("us")), column(time(12), pl.Time)),
    "date as text": (column(date(2024, 5, 1), pl.Date), pl.Series(["2024-05-01"] * 2)),
    "scale": (column(Decimal("1.5"), pl.Decimal(9, 1)), column(Decimal("1.5"), pl.Decimal(9, 2))),
    "decimal": (column(Decimal("1.5"), pl.Decimal(9, 1)), column(1.5, pl.Float64)),
    "precision": (column(123456789.0, pl.Float32), column(123456789.0, pl.Float64)),
    "float": (column(1, pl.Int64), column(1.0, pl.Float64)),
    "bool": (column(True, pl.Boolean), column(1, pl.Int8)),
}
KINDS = {
    "categorical": [feature("x")],
    "meta": [feature("cat", preprocess="copy_from(x)"), feature("x", "meta")],
    "copy": [feature("cat", preprocess="copy_from(x)")],
}


@pytest.mark.parametrize("where", ["valid", "test", "part"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", UNLIKE)
def test_types_that_are_written_unlike(tmp_path, case, kind, where):
    one, other = UNLIKE[case]
    found = message(two_types(tmp_path, one, other, KINDS[kind], where))
    split = "train" if where == "part" else where
    assert f"is {one.dtype} in {tmp_path}" in found
    assert f" is {other.dtype} in {tmp_path}" in found
    assert f"({split}): as str, one value would become two different tokens" in found
    # '1' and '1.0' are no dates.
    assert ("'1.0'" in found) != (one.dtype.is_temporal() or other.dtype.is_temporal())


@pytest.mark.parametrize("case", UNLIKE)
def test_lists_of_types_that_are_written_unlike(tmp_path, case):
    lists = [
        pl.Series("x", [values.to_list()] * 2, pl.List(values.dtype)) for values in UNLIKE[case]
    ]
    found = message(two_types(tmp_path, *lists, [feature("x", "sequence")]))
    assert "as str, one value would become two different tokens" in found


ALIKE = {
    "integers": (column(7, pl.Int8), column(7, pl.UInt64)),
    "decimal without places": (column(7, pl.Int64), column(7, pl.Decimal(20, 0))),
    "number and text": (column(7, pl.Int64), column("7", pl.String)),
    "text and categorical": (column("7", pl.String), column("7", pl.Categorical)),
    "enum and categorical": (column("7", pl.Enum(["7"])), column("7", pl.Categorical)),
    "digits": (column(Decimal("7.5"), pl.Decimal(9, 2)), column(Decimal("7.5"), pl.Decimal(20, 2))),
}


@pytest.mark.parametrize("case", ALIKE)
def test_types_that_are_written_alike(tmp_path, case):
    found = cached(open_cache(two_types(tmp_path, *ALIKE[case], [feature("x")])))
    assert found["train"]["x"].tolist() == found["valid"]["x"].tolist() == [1, 1]


def test_a_part_without_values_has_any_type(tmp_path):
    dataset = two_types(tmp_path, column(7, pl.Int64), column(None, pl.Null), [feature("x")])
    found = cached(open_cache(dataset))
    # A missing value has FuxiCTR's unknown id.
    assert found["valid"]["x"].tolist() == [2, 2]


def test_ids_that_are_floats_of_two_precisions(tmp_path):
    # As a number, 0.1 of 32 bits is 0.10000000149011612.
    one, other = column(0.1, pl.Float64), column(0.1, pl.Float32)
    for i, kind in enumerate(("categorical", "meta")):
        cat = [] if kind == "categorical" else [feature("cat", preprocess="copy_from(x)")]
        features = [*cat, feature("x", kind, "float")]
        found = message(two_types(tmp_path / str(i), one, other, features))
        assert "as float, one value would become two different tokens" in found
    price = [feature("x", "numeric", "float"), feature("cat", "categorical", "int")]
    frames = {
        "train": with_labels({"x": one, "cat": [1, 2]}),
        "valid": with_labels({"x": other, "cat": [1, 2]}),
    }
    dataset = write_dataset(tmp_path / "price", frames, price, data_format="parquet")
    assert cached(open_cache(dataset))["valid"]["x"].tolist() == pytest.approx([0.1, 0.1])


def test_whole_numbers_meet_in_floats_and_integers(tmp_path):
    one, other = column(3, pl.Int64), column(3.0, pl.Float64)
    for dtype in ("int", "float"):
        dataset = two_types(tmp_path / dtype, one, other, [feature("x", dtype=dtype)])
        assert cached(open_cache(dataset))["valid"]["x"].tolist() == [1, 1]


def test_a_duration_has_no_text(tmp_path):
    values = column(timedelta(seconds=3), pl.Duration("us"))
    for i, dtype in enumerate(("str", "int")):
        features = [feature("x", dtype=dtype)]
        found = message(two_types(tmp_path / str(i), values, values, features))
        assert f"is declared {dtype}, found Duration" in found
        assert "Store a number." in found


SHARED = {
    "user": pl.Series([1, 2, 3, 1]),
    "inviter": pl.Series([2.0, None, 1.0, 3.0]),
    "friends": pl.Series([[2.0], [], [1.0, 3.0], [3.0]]),
}


@pytest.mark.parametrize(
    ("sharing", "types"),
    [
        (feature("inviter", share_embedding="user"), ("Int64", "Float64")),
        (feature("friends", "sequence", share_embedding="user"), ("Int64", "List(Float64)")),
        (
            feature("twin", preprocess="copy_from(inviter)", share_embedding="user"),
            ("Int64", "Float64"),
        ),
    ],
)
def test_columns_that_share_a_table(tmp_path, sharing, types):
    frames = dict.fromkeys(SPLITS, with_labels(SHARED))
    others = [feature("inviter")] if sharing["name"] == "twin" else []
    features = [feature("user"), *others, sharing]
    found = message(write_dataset(tmp_path, frames, features, data_format="parquet"))
    assert f"column 'user' is {types[0]} in" in found
    assert f"is {types[1]} in" in found
    assert "which share a table: as str, one value would become two different tokens" in found


def test_shared_numbers_meet_as_int(tmp_path):
    frames = dict.fromkeys(SPLITS, with_labels(SHARED))
    features = [
        feature("user", dtype="int"),
        feature("inviter", dtype="int", share_embedding="user"),
    ]
    found = cached(open_cache(write_dataset(tmp_path, frames, features, data_format="parquet")))
    assert found["test"]["user"].tolist() == [1, 2, 3, 1]
    # FuxiCTR's 0 for a missing number is a token, the fourth one: after them and train's unknown one.
    assert found["test"]["inviter"].tolist() == [2, 4, 1, 3]
