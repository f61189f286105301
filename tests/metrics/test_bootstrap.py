"""The bootstrap of AUC and gAUC against the metrics of rows that are really copied."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import auc, evaluate_task, gauc
from fuxictr_stem.metrics.bootstrap import (
    bootstrap_auc,
    bootstrap_gauc,
    bootstrap_metric,
    bootstrap_pr_auc,
    resample_counts,
)

patient = settings(deadline=None)
GROUPS = 7


@st.composite
def samples(draw):
    """Labels with both classes, scores with many or few ties, numbers of groups."""
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = (rng.random(n) < draw(st.sampled_from([0.1, 0.5, 0.9]))).astype(int)
    one, other = rng.choice(n, 2, replace=False)
    y[one], y[other] = 0, 1
    levels = draw(st.sampled_from([1, 2, 5, 10**9]))
    return y, rng.integers(0, levels, n) / levels, rng.integers(0, GROUPS, n)


def copied(drawn, group):
    """The rows of a resample, and each copy of a group as a group of its own."""
    rows, copies = [], []
    for number, times in enumerate(drawn):
        for copy in range(times):
            own = np.flatnonzero(group == number)
            rows += own.tolist()
            copies += [number * 1000 + copy] * len(own)
    return np.array(rows, int), np.array(copies, int)


@patient
@given(samples(), st.integers(0, 100))
def test_auc_is_that_of_the_copied_rows(case, seed):
    y, p, g = case
    counts = resample_counts(GROUPS, 5, seed)
    for found, drawn in zip(bootstrap_auc(y, p, g, counts), counts, strict=True):
        rows, _ = copied(drawn, g)
        if len(set(y[rows].tolist())) == 2:
            assert found == auc(y[rows], p[rows])
        else:
            assert np.isnan(found)


@patient
@given(samples(), st.integers(0, 100))
def test_pr_auc_is_scikit_learns_of_the_copied_rows(case, seed):
    y, p, g = case
    counts = resample_counts(GROUPS, 5, seed)
    for found, drawn in zip(bootstrap_pr_auc(y, p, g, counts), counts, strict=True):
        rows, _ = copied(drawn, g)
        if y[rows].any():
            assert found == pytest.approx(average_precision_score(y[rows], p[rows]), abs=1e-9)
        else:
            assert np.isnan(found)


@pytest.mark.parametrize("weight", ["samples", "equal", "positives"])
@patient
@given(case=samples(), seed=st.integers(0, 100))
def test_gauc_is_that_of_the_copied_groups(weight, case, seed):
    y, p, g = case
    counts = resample_counts(GROUPS, 5, seed)
    mixed = [n for n in range(GROUPS) if len(set(y[g == n].tolist())) == 2]
    if not mixed:
        with pytest.raises(DataError, match="group with both classes"):
            bootstrap_gauc(y, p, g, counts, weight)
        return
    for found, drawn in zip(bootstrap_gauc(y, p, g, counts, weight), counts, strict=True):
        rows, copies = copied(drawn, g)
        if drawn[mixed].any():
            assert found == pytest.approx(gauc(y[rows], p[rows], copies, weight), abs=1e-12)
        else:
            assert np.isnan(found)


def test_counting_every_group_once_gives_the_metrics():
    rng = np.random.default_rng(0)
    y, p, g = rng.integers(0, 2, 500), rng.random(500).round(2), rng.integers(0, 30, 500)
    once = np.ones((1, 30), np.int32)
    assert bootstrap_auc(y, p, g, once) == [auc(y, p)]
    assert bootstrap_gauc(y, p, g, once) == pytest.approx([gauc(y, p, g)], abs=1e-12)


def test_spread_is_that_of_the_mean_over_groups():
    """Ranking groups of one pair each, AUC is a mean of zeros and ones with a known deviation."""
    rng = np.random.default_rng(1)
    right = rng.random(400) < 0.7
    y, g = np.tile([0, 1], 400), np.repeat(np.arange(400), 2)
    p = np.stack([~right, right], axis=1).ravel()
    found = bootstrap_gauc(y, p, g, resample_counts(400, 2000, 3))
    assert found.mean() == pytest.approx(right.mean(), abs=0.002)
    assert found.std() == pytest.approx(right.std() / 20, rel=0.05)


def test_counts_are_draws_with_replacement():
    counts = resample_counts(50, 400, 9)
    assert counts.dtype == np.int32
    assert (counts.sum(axis=1) == 50).all()
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.05)
    np.testing.assert_array_equal(counts[:100], resample_counts(50, 100, 9))
    assert (counts[:100] != resample_counts(50, 100, 10)).any()


ONCE = np.ones((2, 3), np.int32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group_id": [0, 1, 3, 0]}, "from 0 to 3, .* groups 0 to 2"),
        ({"group_id": [0, -1, 2, 0]}, "from -1 to 2"),
        ({"group_id": ["a", "b", "c", "a"]}, "numbers of groups, .* Number the ids"),
        ({"group_id": [0, 1, 2]}, "same length"),
        ({"y_true": [0, 1, 2, 1]}, "neither 0 nor 1"),
        ({"y_pred": [0, 1, np.nan, 1]}, "NaN"),
        ({"counts": ONCE[0]}, r"shape \(3,\)"),
        ({"counts": ONCE / 2}, "float64"),
    ],
)
@pytest.mark.parametrize("measure", [bootstrap_auc, bootstrap_pr_auc, bootstrap_gauc])
def test_what_does_not_fit_is_refused(measure, change, message):
    case = {"y_true": [0, 1, 0, 1], "y_pred": [0, 1, 1, 1], "group_id": [0, 1, 2, 0]}
    with pytest.raises(DataError, match=message):
        measure(**{**case, "counts": ONCE, **change})


def test_an_unknown_weight_and_empty_draws_are_refused():
    with pytest.raises(DataError, match="weight .* 'rows'"):
        bootstrap_gauc([0, 1], [0, 1], [0, 0], ONCE, "rows")
    for sizes in ((0, 5), (5, 0)):
        with pytest.raises(DataError, match="must be at least 1, but is 0"):
            resample_counts(*sizes, seed=1)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("binary_classification", "AUC"),
        ("binary_classification", "prAUC"),
        ("binary_classification", "gAUC"),
        ("binary_classification", "avgAUC"),
        ("binary_classification", "logloss"),
        ("regression", "MSE"),
        ("regression", "MAE"),
        ("binary_classification", "NE"),
        ("binary_classification", "calibration"),
        ("binary_classification", "calibration_error"),
        ("regression", "R2"),
    ],
)
def test_a_resampled_metric_is_that_of_the_resampled_rows(task, metric):
    rng = np.random.default_rng(3)
    group = rng.permutation(np.repeat(np.arange(12), 10))
    true = (rng.random(120) < 0.4).astype("float32")
    pred = rng.random(120).astype("float32").round(1)
    counts = resample_counts(12, 8, seed=1)
    found = bootstrap_metric(metric, true, pred, group, counts)
    for value, drawn in zip(found, counts, strict=True):
        copies = [(g, c) for g in range(12) for c in range(drawn[g])]
        rows = np.concatenate([np.flatnonzero(group == g) for g, _ in copies])
        # A user drawn twice is two users.
        users = np.repeat(np.arange(len(copies)), 10)
        expected = evaluate_task(task, true[rows], pred[rows], [metric], users)[metric]
        assert value == pytest.approx(expected, abs=1e-9)
