"""The benchmark's tests against scipy, the definitions, and physically resampled users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fuxictr_stem.benchmark.score.significance import (
    UserBootstrap,
    holm,
    paired_t_test,
)
from fuxictr_stem.metrics import evaluate_task
from fuxictr_stem.metrics.bootstrap import resample_counts
from fuxictr_stem.metrics.intervals import Interval
from tests.support.finished_benchmarks import make_benchmark


def test_the_t_test_is_scipys_over_the_seeds_of_both():
    ours = {1: 0.71, 2: 0.73, 3: 0.72, 9: 0.1}
    theirs = {3: 0.70, 1: 0.705, 2: 0.71, 8: 0.9}
    expected = ttest_rel([0.71, 0.73, 0.72], [0.705, 0.71, 0.70]).pvalue
    assert paired_t_test(ours, theirs) == pytest.approx(expected, rel=1e-12)
    assert paired_t_test(theirs, ours) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {1: 0.7},
        {1: 0.7, 2: 0.8},
        # Nothing but rounding tells these differences apart.
        {1: 0.7 - 0.1, 2: 0.8 - 0.1},
    ],
)
def test_without_two_seeds_or_a_spread_there_is_no_t_test(theirs):
    assert paired_t_test({1: 0.7, 2: 0.8}, theirs) is None


def test_holm_on_a_known_case():
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(
    st.lists(st.floats(0, 1) | st.none() | st.sampled_from([0.01, 0.02]), max_size=12),
    st.floats(0.001, 0.999),
)
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    """Holm (1979): in rising order, reject as long as p <= alpha / (tests that are left)."""
    left = sum(p is not None for p in p_values)
    rejected = set()
    for p, place in sorted((p, place) for place, p in enumerate(p_values) if p is not None):
        if p * left > alpha:
            break
        rejected.add(place)
        left -= 1
    adjusted = holm(p_values)
    assert {i for i, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected
    assert [p is None for p in adjusted] == [p is None for p in p_values]


def test_differences_are_paired_and_averaged_over_seeds(tmp_path):
    finished = make_benchmark(tmp_path, {"SingleTask": 1.5, "STEMNet": 1.0}, rows=300, users=15)
    bootstrap = UserBootstrap(finished, resamples=40, seed=5)
    pair, observed = ("STEMNet", "SingleTask"), {1: 0.0, 3: 0.1}
    found, _ = bootstrap.intervals(pair, "like", "AUC", observed)
    counts = resample_counts(15, 40, seed=5)
    group = finished.models["STEMNet"][1].predictions("like").group_id
    differences = []
    for drawn in counts:
        rows = np.repeat(np.arange(300), drawn[np.unique(group, return_inverse=True)[1]])
        values = []
        for name in ("STEMNet", "SingleTask"):
            for seed in (1, 3):
                own = finished.models[name][seed].predictions("like")
                true, pred = own.y_true[rows], own.y_pred[rows]
                figures = evaluate_task("binary_classification", true, pred, ["AUC"])
                values.append(figures["AUC"])
        differences.append(values[0] + values[1] - values[2] - values[3])
    low, high = np.quantile(np.array(differences) / 2, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert bootstrap.users == {"click": 15, "like": 15}


def test_a_model_does_not_differ_from_itself(tmp_path):
    finished = make_benchmark(tmp_path, {"MMoE": 1.0})
    bootstrap = UserBootstrap(finished, resamples=20)
    over_users, _ = bootstrap.intervals(("MMoE", "MMoE"), "like", "gAUC", {1: 0.0, 2: 0.0})
    assert over_users == Interval(0, 0, 1)
    assert bootstrap.same_samples(("MMoE", "MMoE"), "like", [1, 2, 3])
