"""Metrics and lifts slice by slice."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.analysis.slice_metrics import slice_lift, slice_metrics
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.metrics import auc, gauc

patient = settings(deadline=None)


@st.composite
def predictions(draw):
    n = draw(st.integers(5, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y, p = rng.integers(0, 2, n), rng.integers(0, 9, n) / 9
    return y, p, rng.integers(0, 6, n), rng.integers(0, 3, n)


def or_nan(metric, *columns):
    try:
        return metric(*columns)
    except DataError:
        return math.nan


@patient
@given(predictions())
def test_slice_metrics_are_the_metrics_of_the_rows(case):
    y, p, group, slices = case
    found = slice_metrics(y, p, [f"u{g}" for g in group], slices, num_slices=4)
    for number in range(4):
        own = slices == number
        columns = (y[own], p[own], group[own])
        np.testing.assert_equal(found.auc[number], or_nan(auc, *columns[:2]))
        np.testing.assert_equal(found.gauc[number], or_nan(gauc, *columns))
        assert found.rows[number] == own.sum()
        assert found.groups[number] == len(set(group[own].tolist()))
        assert found.positives[number] == y[own].sum()


@pytest.mark.parametrize("metric", ["AUC", "gAUC"])
@patient
@given(case=predictions())
def test_a_lift_is_a_difference_of_metrics(metric, case):
    y, p, group, slices = case
    other = np.random.default_rng(len(y)).random((2, len(y)))
    measure = {"AUC": lambda y, p, g: auc(y, p), "gAUC": gauc}[metric]
    found = slice_lift(y, [p, other[0]], [other[1]], group, slices, metric, resamples=5)
    for number in range(slices.max() + 1):
        own = slices == number
        model = [or_nan(measure, y[own], s[own], group[own]) for s in (p, other[0])]
        expected = np.mean(model) - or_nan(measure, y[own], other[1][own], group[own])
        assert found.lift[number] == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert found.groups[number] == len(set(group[own].tolist()))


def study(users=300, seed=0, lift=0.0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(users), 6)
    y = rng.integers(0, 2, len(group))
    base, better = rng.random((2, len(group)))
    return y, better + lift * y, base, group, group % 2


def test_an_interval_is_that_of_the_resampled_rows():
    y, model, reference, group, slices = study(users=40, lift=0.3)
    found = slice_lift(y, model, reference, group, slices, "AUC", resamples=200, seed=5)
    rng = np.random.default_rng(5)
    users = np.unique(group[slices == 1])
    drawn = []
    for _ in range(200):
        chosen = users[rng.integers(len(users), size=len(users))]
        rows = np.concatenate([np.flatnonzero(group == user) for user in chosen])
        drawn.append(auc(y[rows], model[rows]) - auc(y[rows], reference[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low[1], found.high[1]) == pytest.approx((low, high))


def test_intervals_cover_what_they_promise():
    """Two models of chance: an interval of 80 % holds no difference in about 80 % of the studies."""
    covered = []
    for seed in range(120):
        found = slice_lift(*study(seed=seed), resamples=150, confidence=0.8)
        covered += ((found.low <= 0) & (found.high >= 0)).tolist()
    assert np.mean(covered) == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("metric", ["AUC", "gAUC", "avgAUC", "gAUC_positives"])
def test_a_model_gains_nothing_over_itself(metric):
    y, model, _, group, slices = study()
    found = slice_lift(y, [model, model], model, group, slices, metric, resamples=20)
    for values in (found.lift, found.low, found.high):
        np.testing.assert_array_equal(values, 0)


def test_a_slice_of_one_class_has_no_lift():
    y, model, reference, group, slices = study()
    y = np.where(slices == 1, 0, y)
    for metric in ("AUC", "gAUC"):
        found = slice_lift(y, model, reference, group, slices, metric, resamples=9, num_slices=3)
        assert np.isnan([found.lift[1:], found.low[1:], found.high[1:]]).all()
        assert not np.isnan([found.lift[0], found.low[0], found.high[0]]).any()
        assert found.groups.tolist() == [150, 150, 0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"metric": "MSE"}, ConfigError, "metric: must be one of AUC"),
        ({"confidence": 95}, ConfigError, "confidence .* is 95"),
        ({"resamples": 0}, DataError, "resamples must be at least 1"),
        ({"slice_of_sample": [0, 1, 2, -1]}, DataError, "from -1 to 2"),
        ({"slice_of_sample": [0.0, 1, 1, 1]}, DataError, "float64"),
        ({"num_slices": 1}, DataError, "from 0 to 1, but the slices are 0 to 0"),
        ({"y_pred_reference": [np.zeros(4), np.zeros(3)]}, DataError, "same length"),
        ({"y_pred_model": np.array([0, 1, 0, math.inf])}, DataError, "infinite"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    case = {
        "y_true": [0, 1, 0, 1],
        "y_pred_model": np.array([0, 1, 0, 1]),
        "y_pred_reference": np.array([0, 0, 0, 1]),
        "group_id": [0, 0, 1, 1],
        "slice_of_sample": [0, 0, 1, 1],
    }
    with pytest.raises(error, match=message):
        slice_lift(**{**case, **change})
