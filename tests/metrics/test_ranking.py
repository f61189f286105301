"""The metrics against scikit-learn, FuxiCTR and plain loops, and by properties they must have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fuxictr import metrics as fuxictr_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    roc_auc_score,
)

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import (
    auc,
    evaluate_task,
    gauc,
    group_auc,
    logloss,
    pr_auc,
)
from tests.support.label_samples import samples

CLOSE = {"rel": 0, "abs": 1e-9}

# A shared machine stalls now and then; time is not what these tests are about.
patient = settings(deadline=None)

BINARY, REGRESSION = "binary_classification", "regression"


def loop_gauc(y, p, g, weight):
    """One Python loop over the groups, scikit-learn inside."""
    total = weights = 0.0
    for group in set(g.tolist()):
        own = g == group
        if len(set(y[own])) < 2:
            continue
        w = {"samples": own.sum(), "equal": 1, "positives": y[own].sum()}[weight]
        total += w * roc_auc_score(y[own], p[own])
        weights += w
    return total / weights if weights else None


@patient
@given(samples())
def test_auc_equals_scikit_learn(case):
    y, p, _ = case
    assert auc(y, p) == pytest.approx(roc_auc_score(y, p), **CLOSE)


@patient
@given(samples())
def test_pr_auc_equals_scikit_learn(case):
    y, p, _ = case
    found = evaluate_task(BINARY, y, p, ["prAUC"])["prAUC"]
    assert found == pytest.approx(average_precision_score(y, p), **CLOSE)


def test_pr_auc_by_hand():
    """Ties enter together: precision 1/2 at recall 1/3, then 3/5 at recall 1."""
    y, p = [0, 1, 1, 1, 0], [0.9, 0.9, 0.2, 0.2, 0.2]
    assert pr_auc(y, p) == pytest.approx(1 / 3 * 1 / 2 + 2 / 3 * 3 / 5, **CLOSE)
    assert pr_auc([1, 1], [0.3, 0.2]) == 1
    assert pr_auc(np.array([0, 1, 0]), np.float32([-0.0, 0.0, 3.4e38])) == pytest.approx(1 / 3)


@patient
@given(samples())
def test_auc_is_the_share_of_ordered_pairs(case):
    y, p, _ = case
    gap = p[y == 1][:, None] - p[y == 0][None]
    assert auc(y, p) == ((gap > 0) + 0.5 * (gap == 0)).mean()


@pytest.mark.parametrize("weight", ["samples", "equal", "positives"])
@patient
@given(case=samples())
def test_gauc_equals_a_loop_over_groups(weight, case):
    y, p, g = case
    expected = loop_gauc(y, p, g, weight)
    if expected is None:
        with pytest.raises(DataError, match="group with both classes"):
            gauc(y, p, g, weight)
    else:
        assert gauc(y, p, g, weight) == pytest.approx(expected, **CLOSE)


def test_gauc_weightings_differ_and_are_fuxictrs():
    rng = np.random.default_rng(3)
    g = rng.geometric(0.05, 3000)
    y, p = (rng.random(3000) < 1 / (1 + g)).astype(int), rng.random(3000).round(2)
    blocks = [(y[g == group], p[g == group]) for group in np.unique(g)]
    for name, weight in (("gAUC", "samples"), ("avgAUC", "equal")):
        total = np.sum([getattr(fuxictr_metrics, name)(*block) for block in blocks], axis=0)
        assert gauc(y, p, g, weight) == pytest.approx(total[0] / total[1], **CLOSE)
    assert len({gauc(y, p, g, weight) for weight in ("samples", "equal", "positives")}) == 3


def test_group_auc_describes_every_group():
    y = [1, 0, 1, 1, 0, 1, 0]
    p = [0.9, 0.1, 0.5, 0.6, 0.2, 0.3, 0.3]
    result = group_auc(y, p, ["b", "b", "a", "a", "d", "c", "c"])
    assert result.groups.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(result.auc, [np.nan, 1.0, 0.5, np.nan])
    assert result.samples.tolist() == [2, 2, 2, 1]
    assert result.positives.tolist() == [2, 1, 1, 0]


@patient
@given(samples())
def test_one_group_is_auc(case):
    y, p, _ = case
    for weight in ("samples", "equal", "positives"):
        assert gauc(y, p, np.zeros(len(y), int), weight) == pytest.approx(auc(y, p), **CLOSE)


@patient
@given(samples(), st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(case, seed):
    y, p, g = case
    order = np.random.default_rng(seed).permutation(len(y))
    assert auc(y[order], p[order]) == auc(y, p)
    if loop_gauc(y, p, g, "samples") is not None:
        assert gauc(y[order], p[order], g[order]) == gauc(y, p, g)


@patient
@given(samples())
def test_only_the_order_of_scores_matters(case):
    y, p, g = case
    for moved in (1e3 * p - 7, p**3, np.exp(-5 * (1 - p)), np.unique(p, return_inverse=True)[1]):
        assert auc(y, moved) == auc(y, p)
        if loop_gauc(y, p, g, "samples") is not None:
            assert gauc(y, moved, g) == gauc(y, p, g)
    assert auc(y, -p) == pytest.approx(1 - auc(y, p), **CLOSE)
    assert auc(1 - y, p) == pytest.approx(1 - auc(y, p), **CLOSE)


def test_a_monotone_transform_within_each_group_leaves_gauc_alone():
    rng = np.random.default_rng(5)
    y, p, g = rng.integers(0, 2, 400), rng.random(400), rng.integers(0, 20, 400)
    assert gauc(y, p * (1 + g) - g, g) == gauc(y, p, g)
    assert auc(y, p * (1 + g) - g) != auc(y, p)


@pytest.mark.parametrize(
    "relabel",
    [
        lambda g: -g.astype(np.int8),
        lambda g: g.astype(np.uint64) + np.uint64(2**63),
        lambda g: g * 2**40 - 2**60,
        lambda g: np.array([f"user {i}" for i in g]),
        lambda g: np.array([f"user {i}" for i in g], dtype=object),
        lambda g: g / 7,
        torch.from_numpy,
        list,
    ],
)
def test_names_of_groups_do_not_matter(relabel):
    rng = np.random.default_rng(7)
    y, p, g = rng.integers(0, 2, 500), rng.random(500).round(1), rng.integers(0, 9, 500)
    assert gauc(y, p, relabel(g)) == pytest.approx(gauc(y, p, g), **CLOSE)


def test_extreme_scores():
    tiny, huge = 5e-324, 1.7e308
    assert auc([0, 1, 0, 1], [-huge, -tiny, tiny, huge]) == 0.75
    assert auc([0, 1], [-0.0, 0.0]) == 0.5
    assert auc([0, 1], [0.5, np.nextafter(0.5, 1)]) == 1.0
    assert gauc([0, 1, 0, 1], [tiny, -huge, -huge, huge], [1, 1, 2, 2]) == 0.5
    assert logloss([1, 0], [0.0, 1.0]) == pytest.approx(-math.log(np.finfo(float).eps))
    assert logloss([1, 1], [1.0, 1.0]) < 1e-15  # one class is enough


def test_a_million_rows_are_exact():
    n = 1_000_000
    rng = np.random.default_rng(0)
    y, p, g = rng.random(n) < 0.01, rng.random(n).round(5), rng.integers(0, n // 10, n)
    assert auc(y, p) == pytest.approx(roc_auc_score(y, p), **CLOSE)
    assert pr_auc(y, p) == pytest.approx(average_precision_score(y, p), **CLOSE)
    per_group = group_auc(y, p, g)
    for row in rng.choice(np.flatnonzero(~np.isnan(per_group.auc)), 50, replace=False):
        own = g == per_group.groups[row]
        assert per_group.auc[row] == pytest.approx(roc_auc_score(y[own], p[own]), **CLOSE)
        assert per_group.samples[row] == own.sum()
    assert per_group.samples.sum() == n
    assert per_group.positives.sum() == y.sum()
