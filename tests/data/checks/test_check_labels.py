"""Missing labels, sample spaces and sample weights, from the files to the batches."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.checks.check_labels import check_groups, check_labels, check_samples
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import DataError
from tests.support.datasets import cached, feature, label, with_labels, write_dataset

BINARY, REGRESSION = "binary_classification", "regression"
TASKS = {"y": BINARY, "z": BINARY}
FEATURES = [feature("cat"), feature("user", "meta")]


def frame(y, z=None, **more):
    rows = len(y)
    columns = with_labels({"cat": list("ab" * rows)[:rows], "user": list("uvw" * rows)[:rows]}, ())
    z = [0.0, 1.0] * rows if z is None else z
    return columns.with_columns(
        pl.Series("y", y), pl.Series("z", z[:rows]), *(pl.Series(k, v) for k, v in more.items())
    )


def cache_of(folder, train, valid=None, labels=None, **more):
    labels = labels or [label("y", missing=math.nan), label("z")]
    frames = {"train": train, "valid": train if valid is None else valid}
    return open_cache(write_dataset(folder, frames, FEATURES, labels, **more))


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("missing", "written"),
    [
        (-1, [1.0, -1.0, 0.0, -1.0, 0.0]),
        (-1, [1, -1, 0, -1, 0]),
        (0.1, np.array([1, 0.1, 0, 0.1, 0], np.float32)),
        (math.nan, [1.0, None, 0.0, None, 0.0]),
        (math.nan, [1.0, math.nan, 0.0, None, 0.0]),
    ],
)
def test_a_missing_label_is_nan_in_the_cache(tmp_path, data_format, missing, written):
    valid = frame([1.0, 0.0, 0.0])
    labels = [label("y", missing=missing), label("z")]
    train = frame(written)
    cache = cache_of(tmp_path, train, valid, labels, data_format=data_format)
    found = cached(cache)
    np.testing.assert_array_equal(found["train"]["y"], np.float32([1, np.nan, 0, np.nan, 0]))
    assert {found[split]["y"].dtype.name for split in found} == {"float32"}
    assert found["train"]["z"].dtype == np.uint8, "a label that is never missing stays small"
    stats = cache.labels["train"]["y"]
    assert {k: stats[k] for k in ("rows", "nulls", "sum", "positives", "other", "min")} == {
        "rows": 5,
        "nulls": 2,
        "sum": 1.0,
        "positives": 1,
        "other": 0,
        "min": 0.0,
    }
    check_labels(cache.labels, TASKS)
    columns = cache.feature_map({"group_id": "user"})
    (batch,) = H5Loader(columns, cache.path("train"), batch_size=9)
    np.testing.assert_array_equal(batch["y"].numpy(), found["train"]["y"])


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(y=st.lists(st.sampled_from([0.0, 1.0, None]), min_size=1, max_size=12))
def test_statistics_are_of_the_labels_that_are_there(tmp_path_factory, y):
    train = frame([0.0, 1.0, *y])
    stats = cache_of(tmp_path_factory.mktemp("cache"), train).labels["train"]["y"]
    there = [value for value in train["y"].to_list() if value is not None]
    assert stats["nulls"] == len(train) - len(there)
    assert (stats["sum"], stats["positives"]) == (sum(there), sum(there))


@pytest.mark.parametrize(
    ("declared", "y", "message"),
    [
        ({}, [1.0, None, 0.0], "'y' is missing in 1 row of train.*row 2.*declare missing: nan"),
        ({"missing": -1}, [1.0, None, -1.0], "'y' is missing in 1 row of train.*row 2"),
        ({"missing": -1}, [1.0, math.nan, -1.0], "'y' is NaN, .* in 1 row of train.*row 2"),
        ({}, [1.0, math.nan, 0.0], "'y' is NaN"),
        ({"missing": math.nan}, [1.0, math.inf, 0.0], "'y' is NaN, infinite .* in 1 row"),
    ],
)
def test_what_is_not_declared_is_refused(tmp_path, declared, y, message):
    labels = [label("y", **declared), label("z")]
    with pytest.raises(DataError, match=message):
        cache_of(tmp_path, frame(y), labels=labels, data_format="parquet")


def test_text_is_no_missing_label(tmp_path):
    with pytest.raises(DataError, match="'y' is not a number in 1 row of train.*'none'"):
        cache_of(tmp_path, frame(["1", "none", "", "0"]))


@pytest.mark.parametrize(
    ("y", "task", "message"),
    [
        ([None, None, None], BINARY, "'y' has no positive among 0 rows of train"),
        ([1.0, 1.0, None], BINARY, "'y' has no negative among 2 rows of train"),
        ([0.0, None, 0.0], BINARY, "'y' has no positive among 2 rows of train"),
        ([None, None, None], REGRESSION, "'y' is missing in all 3 rows of train"),
    ],
)
def test_a_task_without_labels_in_a_split_is_refused(tmp_path, y, task, message):
    train = frame(pl.Series("y", y, pl.Float64))
    cache = cache_of(tmp_path, train, frame([0.0, 1.0]))
    with pytest.raises(DataError, match=message):
        check_labels(cache.labels, {"y": task})


def test_regression_labels_may_be_missing(tmp_path):
    cache = cache_of(tmp_path, frame([2.5, None, -3.0]))
    check_labels(cache.labels, {"y": REGRESSION})
    with pytest.raises(DataError, match="value other than 0 and 1"):
        check_labels(cache.labels, {"y": BINARY})


def test_samples_that_fit(tmp_path):
    y = [0.0, 1.0, 0.0, 1.0, None, 0.0]
    z = [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    labels = [label("y", missing=math.nan), label("z"), label("w")]
    cache = cache_of(tmp_path, frame(y, z, w=[0.0, 2.5, 0.0, 0.0, 1.0, 0.5]), labels=labels)
    check_samples(cache, TASKS)
    check_samples(cache, TASKS, {"y": "z"}, "w")
    check_groups(cache, "user", TASKS, {"y": "z"})
    columns = cache.feature_map({"group_id": "user"})
    columns.labels = ["y"]
    loader = H5Loader(
        columns, cache.path("train"), batch_size=9, sample_spaces={"y": "z"}, sample_weight="w"
    )
    (batch,) = loader
    assert batch["z"].tolist() == z
    assert batch["w"].tolist() == [0.0, 2.5, 0.0, 0.0, 1.0, 0.5]
    assert "w" not in next(iter(H5Loader(columns, cache.path("train"), batch_size=9)))


@pytest.mark.parametrize(
    ("y", "z", "task", "message"),
    [
        ([0.0, 1.0, 1.0], [0.0, 1.0, 1.0], BINARY, "'y' has no negative among 2 rows of train whe"),
        ([0.0, 1.0, 0.0], [1.0, 0.0, 1.0], BINARY, "no positive among 2 rows .* where 'z' is 1"),
        ([0.0, None, 1.0], [0.0, 1.0, 0.0], BINARY, "no positive among 0 rows .* where 'z' is 1"),
        ([0.0, None, 1.0], [0.0, 1.0, 0.0], REGRESSION, "missing in all rows of train where 'z'"),
        ([0.0, 1.0, 0.0], [2.0, 1.0, 1.0], BINARY, "'z' is a sample space.* 1 rows of train .*2"),
    ],
)
def test_a_space_that_leaves_nothing_is_refused(tmp_path, y, z, task, message):
    valid = frame([0.0, 1.0], [1.0, 1.0])
    cache = cache_of(tmp_path, frame(y, z), valid)
    with pytest.raises(DataError, match=message):
        check_samples(cache, {"y": task}, {"y": "z"})


@pytest.mark.parametrize("split", ["valid", "train"])
@pytest.mark.parametrize(
    ("z", "kind"), [([0.0, 1.0, 1.0], "negative"), ([1.0, 0.0, 0.0], "positive")]
)
def test_a_space_with_one_class_is_fine_in_valid_where_no_metric_needs_two(
    tmp_path, split, z, kind
):
    frames = {"train": frame([0.0, 1.0], [1.0, 1.0]), "valid": frame([0.0, 1.0], [1.0, 1.0])}
    frames[split] = frame([0.0, 1.0, 1.0], z)
    cache = cache_of(tmp_path, frames["train"], frames["valid"])
    if split == "valid":
        check_samples(cache, {"y": BINARY}, {"y": "z"}, metrics=["logloss"])
    with pytest.raises(DataError, match=f"no {kind} among . rows? of {split} where 'z' is 1"):
        check_samples(cache, {"y": BINARY}, {"y": "z"}, metrics=["AUC"])


def test_a_space_in_which_a_number_is_constant_has_no_r2(tmp_path):
    valid = frame([2.0, 2.0, 3.0], [1.0, 1.0, 0.0])
    cache = cache_of(tmp_path, frame([2.0, 2.0, 3.0], [1.0, 1.0, 0.0]), valid)
    check_samples(cache, {"y": REGRESSION}, {"y": "z"}, metrics=["MSE"])
    with pytest.raises(DataError, match="'y' is 2 in all rows of valid where 'z' is 1, and R2"):
        check_samples(cache, {"y": REGRESSION}, {"y": "z"}, metrics=["R2"])


@pytest.mark.parametrize(
    ("weights", "valid", "message"),
    [
        ([1.0, -0.5, 1.0], None, "'w' is negative in train, where its lowest value is -0.5"),
        ([1.0, 1.0, 1.0], [1.0, -2.0], "'w' is negative in valid"),
        ([0.0, 0.0, 0.0], None, "'w' is 0 in all rows of train that 'y' learns from"),
        ([0.0, 1.0, 0.0], None, "'w' is 0 in all rows of train that 'y' learns from"),
    ],
)
def test_weights_that_leave_nothing_are_refused(tmp_path, weights, valid, message):
    train = frame([1.0, None, 0.0], w=weights)
    valid = frame([0.0, 1.0], w=valid or [1.0, 1.0])
    labels = [label("y", missing=math.nan), label("z"), label("w")]
    cache = cache_of(tmp_path, train, valid, labels)
    with pytest.raises(DataError, match=message):
        check_samples(cache, {"y": BINARY}, sample_weight="w")


@pytest.mark.parametrize("weight", [None, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused_with_its_row(tmp_path, weight):
    train = frame([1.0, 0.0, 0.0], w=[1.0, weight, 1.0])
    labels = [label("y"), label("z"), label("w")]
    with pytest.raises(DataError, match="'w' is .*1 row of train.*row 2"):
        cache_of(tmp_path, train, labels=labels, data_format="parquet")


def test_a_weight_that_combines_missing_labels_is_refused(tmp_path):
    labels = [label("y", missing=math.nan), label("z"), label("w", preprocess="both(y, z)")]
    cache = cache_of(tmp_path, frame([1.0, None, 0.0, 1.0]), frame([0.0, 1.0]), labels)
    with pytest.raises(DataError, match="'w' is missing in 1 rows of train"):
        check_samples(cache, {"z": BINARY}, sample_weight="w")


def test_groups_count_the_samples_only(tmp_path):
    """User u has both classes, but one of them in rows that are no samples."""
    y, z = [1.0, 1.0, 1.0, 0.0, None, 1.0], [1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    cache = cache_of(tmp_path, frame(y, z))
    check_groups(cache, "user", {"y": BINARY})
    with pytest.raises(DataError, match="'y' has only one class in each of the 3 groups"):
        check_groups(cache, "user", {"y": BINARY}, {"y": "z"})


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_rows_without_a_group_are_warned_of_in_built_and_opened_caches(
    tmp_path, data_format, caplog
):
    """They are one group, as FuxiCTR has them, which outweighs others."""
    train = frame([1.0, 0.0, 1.0, 0.0], user=["u", None, None, "v"])
    valid = frame([1.0, 0.0, 1.0], user=[None, None, "v"])
    for _ in range(2):
        cache = cache_of(tmp_path, train, valid, data_format=data_format)
        caplog.clear()
        check_groups(cache, "user", {"y": BINARY})
        assert "group_id: user has no value in 2 of 3 rows of valid" in caplog.text
        assert "of train" not in caplog.text
