"""Label leaks: found where one feature orders a label, silent where an id is merely unique."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.open_cache import Cache, open_cache
from fuxictr_stem.data.checks.check_leaks import LIMIT, find_leaks, warn_of_leaks
from tests.support.project import Project

BINARY, REGRESSION = "binary_classification", "regression"
CONFIG = Path(__file__).parents[3] / "config"


def cache_of(folder, **columns):
    """A cache with a train split of the given arrays."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    rows = len(next(iter(columns.values())))
    layout = {name: (values.dtype, 0) for name, values in columns.items()}
    with store.create(folder / "train.h5", rows, layout) as write:
        write(0, columns)
    return Cache.model_construct(folder=folder, rows={"train": rows})


def found_in(folder, task=BINARY, spaces=None, numeric=(), **columns):
    """Names of the features that are found to tell the label ``y``."""
    kinds = {
        name: "numeric" if values.dtype.kind == "f" or name in numeric else "categorical"
        for name, values in columns.items()
        if name not in ("y", *(spaces or {}).values())
    }
    return [
        leak.feature for leak in find_leaks(cache_of(folder, **columns), kinds, {"y": task}, spaces)
    ]


def random_columns(rows=4000, seed=0, rate=0.3):
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < rate).astype(np.uint8)
    return rng, y


def test_what_is_found_and_what_is_not(tmp_path):
    rng, y = random_columns()
    flips = lambda share: np.where(rng.random(len(y)) < share, 1 - y, y).astype(np.float32)  # noqa: E731
    columns = {
        "copy": y.astype(np.float32),
        "inverted": 1 - y.astype(np.float32),
        "scaled": (7 * y + rng.random(len(y))).astype(np.float32),
        "copied_ids": (y + 2).astype(np.int32),
        "many_ids": (rng.integers(0, 40, len(y)) * 2 + y + 1).astype(np.int32),
        "one_in_10000": flips(1e-4),
        "one_in_100": flips(1e-2),
        "noisy_ids": (flips(1e-2) + 1).astype(np.int32),
        "noise": rng.normal(size=len(y)).astype(np.float32),
        "unique": rng.permutation(len(y)).astype(np.int32),
        "pairs": (rng.permutation(len(y)) // 2).astype(np.int32),
        "constant": np.ones(len(y), np.int32),
    }
    found = found_in(tmp_path, y=y, **columns)
    assert found == ["copy", "inverted", "scaled", "copied_ids", "many_ids", "one_in_10000"]


@pytest.mark.parametrize("positives", [2, 3, 5, 9, 11, 20])
def test_a_copy_of_a_label_with_few_positives(tmp_path, positives):
    rng = np.random.default_rng(positives)
    y = np.zeros(600, np.uint8)
    y[rng.permutation(600)[:positives]] = 1
    near = y.astype(np.int32)
    near[np.flatnonzero(y)[0]] = 0
    columns = {"ids": (y + 2).astype(np.int32), "number": (1 - y).astype(np.float32), "near": near}
    assert found_in(tmp_path, y=y, **columns) == ["ids", "number"]


def test_what_tells_only_the_largest_value_of_a_regression_label_is_no_copy(tmp_path):
    """Such as whether a video was watched to its end, beside the time."""
    y = np.minimum(np.random.default_rng(0).gamma(1.0, size=3000), 2).astype(np.float32)
    ended = (y == 2).astype(np.float32)
    columns = {"ended": ended, "ids": ended.astype(np.int32)}
    assert found_in(tmp_path, REGRESSION, y=y, **columns) == []


def test_few_rows_may_be_alike_by_chance(tmp_path):
    y = np.array([0, 1, 0, 0, 1, 0, 0, 1], np.uint8)
    assert found_in(tmp_path, y=y, ids=y.astype(np.int32), number=y.astype(np.float32)) == []


def test_unique_ids_of_rows_that_alternate(tmp_path):
    y = np.tile(np.array([0, 1], np.uint8), 2000)
    order = np.arange(4000, dtype=np.int32)
    assert found_in(tmp_path, y=y, row=order, copy=y.astype(np.int32)) == ["copy"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(40, 1500),
    wrong=st.integers(0, 8),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_a_number_is_found_exactly_above_the_limit(tmp_path, seed, rows, wrong, sign):
    rng, y = random_columns(rows, seed, rate=0.5)
    x = y.astype(np.float32)
    x[rng.permutation(rows)[:wrong]] = rng.normal(size=wrong)
    x *= sign * 3
    auc = roc_auc_score(y, x)
    expected = ["x"] if max(auc, 1 - auc) > LIMIT else []
    assert found_in(tmp_path, y=y, x=x) == expected


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(40, 1500), noise=st.floats(0, 0.1))
def test_a_regression_label(tmp_path, seed, rows, noise):
    rng = np.random.default_rng(seed)
    y = rng.gamma(1.0, size=rows).astype(np.float32)
    x = (-np.log(y) + noise * rng.normal(size=rows)).astype(np.float32)
    ids = rng.permutation(rows).astype(np.int32)
    expected = ["x"] if abs(spearmanr(x, y)[0]) > LIMIT else []
    assert found_in(tmp_path, REGRESSION, y=y, x=x, ids=ids) == expected


def test_ids_that_tell_a_regression_label(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, 4000).astype(np.int32)
    y = rng.normal(size=30).astype(np.float32)[ids]
    loose = (y + 0.5 * rng.normal(size=len(y))).astype(np.float32)
    assert found_in(tmp_path / "told", REGRESSION, y=y, ids=ids) == ["ids"]
    assert found_in(tmp_path / "loose", REGRESSION, y=loose, ids=ids) == []


def test_a_label_that_is_nearly_constant_tells_nothing(tmp_path):
    y = np.zeros(4000, np.float32)
    y[[5, 2000]] = 3.0
    ids = np.arange(4000, dtype=np.int32)
    close = y + np.arange(4000, dtype=np.float32) / 4000
    assert found_in(tmp_path, REGRESSION, y=y, close=close, ids=ids) == []
    assert found_in(tmp_path, REGRESSION, y=y, copy=2 - y) == ["copy"]


@pytest.mark.parametrize(("positives", "found"), [(9, []), (10, ["score"])])
def test_a_few_positives_may_be_in_order_by_chance(tmp_path, positives, found):
    y = np.zeros(3000, np.uint8)
    y[:positives] = 1
    score = y + np.linspace(0, 0.5, 3000, dtype=np.float32)
    assert found_in(tmp_path, y=y, score=score) == found


def test_rows_without_the_label_are_left_out(tmp_path):
    rng, y = random_columns()
    label = np.where(rng.random(len(y)) < 0.5, y, np.nan).astype(np.float32)
    copy = np.where(np.isnan(label), rng.integers(0, 2, len(y)), y).astype(np.float32)
    assert found_in(tmp_path / "some", y=label, copy=copy) == ["copy"]
    none = np.full(len(y), np.nan, np.float32)
    assert found_in(tmp_path / "none", y=none, copy=copy, ids=copy.astype(np.int32)) == []


def test_within_the_sample_space(tmp_path):
    rng, y = random_columns()
    click = rng.integers(0, 2, len(y)).astype(np.uint8)
    copy = np.where(click == 1, y, 1 - y).astype(np.float32)
    columns = {"y": y, "copy": copy, "ids": (copy + 1).astype(np.int32), "click": click}
    assert found_in(tmp_path / "in", spaces={"y": "click"}, **columns) == ["copy", "ids"]
    del columns["click"]
    assert found_in(tmp_path / "all", **columns) == []


def test_a_sample_of_a_large_split(tmp_path):
    """Spread over the split: a feature that is a copy in its first half only is none."""
    rng, y = random_columns(400_000)
    half = np.where(np.arange(len(y)) < len(y) // 2, y, 1 - y).astype(np.float32)
    columns = {"y": y, "copy": y.astype(np.float32), "half": half}
    cache = cache_of(tmp_path, **columns)
    (leak,) = find_leaks(cache, {"copy": "numeric", "half": "numeric"}, {"y": BINARY})
    assert leak.feature == "copy"
    assert leak.value == 1
    assert 100_000 < leak.rows <= 131_072


def test_a_run_warns_by_name_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.frames = {
        split: frame.with_columns(
            seen=pl.lit(1.0) - pl.col("view"),
            told=pl.col("like").cast(pl.String),
            meta=pl.col("like").cast(pl.String),
        )
        for split, frame in project.frames.items()
    }
    project.dataset["feature_cols"] += [
        {"name": "seen", "active": True, "dtype": "float", "type": "numeric"},
        {"name": "told", "active": True, "dtype": "str", "type": "categorical"},
        {"name": "meta", "active": True, "dtype": "str", "type": "meta"},
    ]
    project.model["epochs"] = 1
    assert project.run() == 0
    log = tmp_path / "checkpoints" / "toy" / "toy_test.log"
    lines = log.read_text().splitlines()
    warned = [text for text in lines if "WARNING Label leak?" in text]
    assert len(warned) == 2
    assert "'seen' alone predicts the label 'view': AUC 1.00000 on 600 rows" in warned[0]
    assert "'told' alone predicts the label 'like': AUC 1.00000 on 600 rows" in warned[1]
    assert all("use_features" in text for text in warned)
    project.model["use_features"] = ["user", "item", "age"]
    assert project.run() == 0
    assert "Label leak?" not in log.read_text()


def test_nothing_false_on_real_impressions(stem_data, tmp_path):
    params = load_experiment(CONFIG, "STEMNet_kuairand_pure_subset")
    folder = stem_data / "kuairand_pure"
    params |= {f"{s}_data": str(folder / f"{s}.parquet") for s in ("train", "valid")}
    cache = open_cache({**params, "test_data": None, "data_root": str(tmp_path)})
    assert warn_of_leaks(cache, params) == []
    kinds = {"user_id": "categorical", "video_id": "categorical", "long_view": "numeric"}
    tasks = {"long_view": BINARY, "is_like": BINARY}
    (leak,) = find_leaks(cache, kinds, tasks)
    assert (leak.feature, leak.label) == ("long_view", "long_view")
    assert math.isclose(leak.value, 1)
