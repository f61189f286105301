"""Metrics of a split as a whole against scikit-learn and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import (
    calibration,
    calibration_error,
    logloss,
    mae,
    mse,
    normalized_entropy,
    pr_auc,
    r2,
)
from tests.support.label_samples import samples

CLOSE = {"rel": 0, "abs": 1e-9}

# A shared machine stalls now and then; time is not what these tests are about.
patient = settings(deadline=None)


@patient
@given(samples())
def test_logloss_equals_scikit_learn(case):
    y, p, _ = case  # p holds exact zeros: clipping matters
    for probability in (p, 1 - p):
        assert logloss(y, probability) == pytest.approx(log_loss(y, probability), **CLOSE)


@patient
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=1, max_size=40))
def test_regression_metrics_equal_scikit_learn(pairs):
    y, p = np.array(pairs).T
    assert mse(y, p) == pytest.approx(mean_squared_error(y, p), rel=1e-12, abs=1e-9)
    assert mae(y, p) == pytest.approx(mean_absolute_error(y, p), rel=1e-12, abs=1e-9)
    assert mae(y.astype(np.float32), p.astype(np.float32)) == mae(y, p)


@patient
@given(samples())
def test_normalized_entropy_is_logloss_over_that_of_the_base_rate(case):
    y, p, _ = case
    base = log_loss(y, np.full(len(y), y.mean()))
    assert normalized_entropy(y, p) == pytest.approx(log_loss(y, p) / base, rel=1e-9)
    assert normalized_entropy(y, np.full(len(y), y.mean())) == pytest.approx(1)


@patient
@given(samples(), st.floats(0.1, 1))
def test_calibration_is_predicted_over_observed(case, factor):
    y, p, _ = case
    assert calibration(y, p) == pytest.approx(p.sum() / y.sum(), rel=1e-12)
    assert calibration(y, factor * p) == pytest.approx(factor * calibration(y, p), rel=1e-9)
    assert calibration(y, np.full(len(y), y.mean())) == pytest.approx(1)
    error = abs(factor * p.sum() / y.sum() - 1)
    assert calibration_error(y, factor * p) == pytest.approx(error, abs=1e-9)


@patient
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e4]))
def test_r2_equals_scikit_learn(n, seed, offset):
    rng = np.random.default_rng(seed)
    y = rng.normal(offset, 2, n)
    p = y + rng.normal(0, 1, n)
    assert r2(y, p) == pytest.approx(r2_score(y, p), rel=1e-9, abs=1e-9)
    assert r2(y, np.full(n, y.mean())) == pytest.approx(0, abs=1e-9)
    assert r2(y, y) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normalized_entropy([1, 1], [0.5, 0.5]), "NE needs both classes, but all .* are 1"),
        (lambda: normalized_entropy([0], [0.5]), "all labels are 0"),
        (lambda: normalized_entropy([0, 1], [0.5, 1.5]), "outside"),
        (lambda: pr_auc([0, 0], [0.5, 0.2]), "prAUC needs a positive, but all 2 labels are 0"),
        (lambda: calibration([0, 0], [0.5, 0.5]), "all 2 labels are 0"),
        (lambda: calibration([0, 1], [0.5, -1]), "Calibration needs probabilities"),
        (lambda: r2([2.5, 2.5], [1, 2]), "variance of the labels, but all 2 are 2.5"),
        (lambda: r2([2.5], [1]), "all 1 are 2.5"),
    ],
)
def test_ratios_without_a_denominator_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()
