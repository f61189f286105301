"""The metrics against scikit-learn, FuxiCTR and plain loops, and by properties they must have."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from fuxictr import metrics as fuxictr_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.metrics import (
    METRICS,
    auc,
    calibration,
    calibration_error,
    evaluate_task,
    gauc,
    group_auc,
    logloss,
    mae,
    mean_over_tasks,
    metric_names,
    mse,
    normalized_entropy,
    pr_auc,
    produced_metrics,
    r2,
)

CLOSE = {"rel": 0, "abs": 1e-9}
# A shared machine stalls now and then; time is not what these tests are about.
patient = settings(deadline=None)
BINARY, REGRESSION = "binary_classification", "regression"


@st.composite
def samples(draw, groups=6):
    """Labels with both classes, scores with many or few ties, group ids."""
    n = draw(st.integers(2, 60))
    seed = draw(st.integers(0, 2**32 - 1))
    positive_rate = draw(st.sampled_from([0.02, 0.5, 0.9]))
    levels = draw(st.sampled_from([1, 2, 3, 10, 10**9]))
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < positive_rate).astype(int)
    one, other = rng.choice(n, 2, replace=False)
    y[one], y[other] = 0, 1
    return y, rng.integers(0, levels, n) / levels, rng.integers(0, groups, n)


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


@patient
@given(samples())
def test_logloss_equals_scikit_learn(case):
    y, p, _ = case  # p holds exact zeros: clipping matters
    for probability in (p, 1 - p):
        assert logloss(y, probability) == pytest.approx(log_loss(y, probability), **CLOSE)


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


@pytest.mark.parametrize("dtype", [np.float16, np.float32, torch.float32, torch.float64])
def test_input_types_give_one_answer(dtype):
    rng = np.random.default_rng(11)
    y, p, g = rng.integers(0, 2, 300), rng.random(300).astype(np.float16), rng.integers(0, 9, 300)
    expected = auc(y, p.astype(float)), gauc(y, p.astype(float), g), logloss(y, p.astype(float))
    if isinstance(dtype, torch.dtype):
        labels, scores = torch.tensor(y)[:, None].bool(), torch.tensor(p, dtype=dtype)[:, None]
    else:
        labels, scores = y.astype(np.uint8), p.astype(dtype)
    found = auc(labels, scores), gauc(labels, scores, torch.tensor(g)), logloss(labels, scores)
    assert found == expected


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


def test_a_million_rows_are_quick_and_exact():
    n = 1_000_000
    rng = np.random.default_rng(0)
    y, p, g = rng.random(n) < 0.01, rng.random(n).round(5), rng.integers(0, n // 10, n)
    start = time.perf_counter()
    assert auc(y, p) == pytest.approx(roc_auc_score(y, p), **CLOSE)
    assert pr_auc(y, p) == pytest.approx(average_precision_score(y, p), **CLOSE)
    per_group = group_auc(y, p, g)
    assert time.perf_counter() - start < 10
    for row in rng.choice(np.flatnonzero(~np.isnan(per_group.auc)), 50, replace=False):
        own = g == per_group.groups[row]
        assert per_group.auc[row] == pytest.approx(roc_auc_score(y[own], p[own]), **CLOSE)
        assert per_group.samples[row] == own.sum()
    assert per_group.samples.sum() == n
    assert per_group.positives.sum() == y.sum()


MASKED = np.ma.masked_array([0, 1, 1], mask=[False, True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([0, 1, 1], [0.1, 0.2]), "y_true 3, y_pred 2"),
        (lambda: gauc([0, 1], [0.1, 0.2], [1]), "y_true 2, y_pred 2, group_id 1"),
        (lambda: logloss([0], [0.1, 0.2]), "y_true 1, y_pred 2"),
        (lambda: mse([0.0], [0.1, 0.2]), "y_true 1, y_pred 2"),
        (lambda: auc([], []), "y_true is empty"),
        (lambda: mae([], []), "y_true is empty"),
        (lambda: auc([[0, 1]], [[0, 1]]), r"shape \(N,\)"),
        (lambda: auc([0, 1, 1, 0], [0.1, math.nan, math.inf, 0.2]), "y_pred has 2 of 4 values"),
        (lambda: logloss([0, 1], [0.1, -math.inf]), "y_pred has 1 of 2 values"),
        (lambda: mse([math.nan, 1], [0.1, 0.2]), "y_true has 1 of 2 values"),
        (lambda: auc([0, 1], ["0.1", "0.2"]), "real numbers"),
        (lambda: auc([0, 1], [0.1, {}]), "must hold numbers"),
        (lambda: auc([0, 1], [1j, 2j]), "real numbers"),
        (lambda: auc([0, 1, 2, -1], [0.1] * 4), "2 of 4 labels .* such as 2"),
        (lambda: logloss([0, 0.5], [0.1] * 2), "1 of 2 labels .* such as 0.5"),
        (lambda: gauc([0, math.nan], [0.1] * 2, [1, 1]), "1 of 2 labels .* such as nan"),
        (lambda: auc(["0", "1"], [0.1] * 2), "must hold 0 and 1"),
        (lambda: auc([0, 0, 0], [0.1] * 3), "all 3 labels are 0"),
        (lambda: auc([1, 1], [0.1] * 2), "all 2 labels are 1"),
        (lambda: logloss([0, 1, 1], [0.1, 1.1, -0.1]), "2 of 3 values outside"),
        (lambda: gauc([0, 1], [0.1] * 2, [1, 2]), "none of the 2 groups"),
        (lambda: gauc([0, 1], [0.1] * 2, [1, 1], "users"), "samples, equal, positives.*'users'"),
        (lambda: gauc([0, 1], [0.1] * 2, [1.0, math.nan]), "1 of 2 missing"),
        (lambda: gauc([0, 1], [0.1] * 2, ["u", None]), "ids of one kind"),
        (lambda: auc([0, 1, 1], MASKED), "y_pred has 1 of 3 values masked"),
        (lambda: auc(MASKED, [0.1] * 3), "y_true has 1 of 3 values masked"),
        (lambda: gauc([0, 1, 1], [0.1] * 3, MASKED), "group_id has 1 of 3 values masked"),
        (lambda: auc([0, 1], [0.1, [0.2, 0.3]]), "y_pred cannot be read as an array .*inhomogen"),
        (lambda: auc(torch.tensor([0, 1]).to_sparse(), [0.1] * 2), "y_true cannot be .*[Ss]parse"),
        (lambda: auc([0, 1], torch.ones(2, device="meta")), "y_pred cannot be read as an array"),
        (lambda: auc([0, 1], [2**53, 2**53 + 1]), "1 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], [0.5, -(2**53) - 1]), "1 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], [2**64, 2**64 + 1]), "2 of 2 whole numbers beyond 2"),
        (lambda: auc([0, 1], torch.tensor([2**60, 2**60 + 1])), "2 of 2 whole numbers beyond 2"),
        (lambda: mse([-(2**63), 1], [0.1] * 2), "y_true has 1 of 2 whole numbers beyond 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_what_float64_holds_is_measured():
    assert auc([0, 1], [2**53 - 1, 2**53]) == 1
    assert auc([0, 1], [-1e300, 1e300]) == auc([0, 1], [0.5, 2.0**60]) == 1
    assert auc([0, 1], np.ma.masked_array([0.1, 0.2])) == 1


def test_metrics_apply_to_their_tasks():
    names = ["gAUC", "logloss", "MAE", "AUC", "AUC"]
    assert metric_names(BINARY, names) == ["gAUC", "logloss", "AUC"]
    assert metric_names(REGRESSION, names) == ["MAE"]
    assert metric_names(REGRESSION, ["AUC"]) == ["MSE", "MAE"]
    assert metric_names(BINARY, ["MSE"]) == ["logloss", "AUC"]
    assert metric_names(BINARY, ["like_AUC", "gAUC"]) == ["gAUC"]
    with pytest.raises(ConfigError, match="Did you mean 'binary_classification'"):
        metric_names("binary_clasification", names)


def test_evaluate_task_gives_each_metric_under_its_name():
    rng = np.random.default_rng(13)
    y, p, g = rng.integers(0, 2, 200), rng.random(200).round(1), rng.integers(0, 9, 200)
    binary = [name for name, metric in METRICS.items() if metric.task == BINARY]
    found = evaluate_task(BINARY, y, p, binary, g)
    assert list(found) == binary
    assert found["logloss"] == found["binary_crossentropy"] == logloss(y, p)
    assert found["AUC"] == auc(y, p)
    assert found["gAUC"] == gauc(y, p, g, "samples")
    assert found["avgAUC"] == gauc(y, p, g, "equal")
    assert found["gAUC_positives"] == gauc(y, p, g, "positives")
    assert evaluate_task(REGRESSION, y, p, ["AUC"]) == {"MSE": mse(y, p), "MAE": mae(y, p)}
    with pytest.raises(DataError, match="gAUC, avgAUC need group_id"):
        evaluate_task(BINARY, y, p, ["AUC", "gAUC", "avgAUC"])


def test_a_mean_is_over_the_tasks_that_have_the_metric():
    results = {"like": {"AUC": 0.5, "logloss": 1.0}, "finish": {"AUC": 0.7}, "time": {"MSE": 4.0}}
    assert mean_over_tasks(results) == pytest.approx({"AUC": 0.6, "logloss": 1.0, "MSE": 4.0})


def test_produced_metrics_are_what_evaluation_returns():
    tasks = {"like": BINARY, "time": REGRESSION, "finish": BINARY}
    rng = np.random.default_rng(17)
    y, p, g = rng.integers(0, 2, 50), rng.random(50), np.zeros(50, int)
    for names in (["AUC"], ["AUC", "MSE", "gAUC"], ["MAE", "AUC"]):
        results = {label: evaluate_task(task, y, p, names, g) for label, task in tasks.items()}
        keys = [f"{label}_{name}" for label, own in results.items() for name in own]
        assert produced_metrics(tasks, names) == keys + list(mean_over_tasks(results))


def test_hashed_ids_in_a_list_stay_apart():
    """From 2**63 on NumPy makes a list of whole numbers floats; neighbours must not merge."""
    ids = [2**63, 2**63 + 1, 2**63 + 1, 5]
    with pytest.raises(DataError, match="both classes"):
        gauc([0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4], ids)
    assert gauc([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], [2**63, 2**63 + 1, 2**63 + 1, 5]) == 0.0


def test_tensors_of_any_kind():
    scores = torch.tensor([0.125, 0.5, 0.25, 0.75], requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    assert auc(labels, scores) == auc(labels, scores.bfloat16()) == 0.5
