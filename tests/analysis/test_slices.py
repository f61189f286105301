"""Comparable samples by the documented formulas, and metrics and lifts slice by slice."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.analysis.slices import positive_balance
from fuxictr_stem.errors import ConfigError, DataError

patient = settings(deadline=None)

NAMES = ["a dominates", "comparable", "b dominates", "cold"]


@st.composite
def train(draw):
    """Groups with two labels, some of them missing, at rates that differ by group."""
    n = draw(st.integers(30, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    group = rng.integers(0, draw(st.integers(1, 12)), n)
    labels = {}
    for name, rate in (("a", 0.5), ("b", 0.15)):
        values = (rng.random(n) < rate * (1 + group % 3) / 2).astype(float)
        values[rng.random(n) < draw(st.sampled_from([0, 0.2]))] = np.nan
        values[0] = 1
        labels[name] = values
    return group, labels


@patient
@given(
    case=train(),
    relative_to=st.sampled_from(["base_rate", "counts"]),
    smoothing=st.sampled_from([0.0, 1.0, 20.0]),
    min_rows=st.integers(0, 12),
    thresholds=st.sampled_from([(-1.0, 1.0), (-0.2, 0.1), (0.0, 0.0)]),
)
def test_slices_follow_the_formulas(case, relative_to, smoothing, min_rows, thresholds):
    """The docstring's formulas with Python numbers, group by group."""
    group, labels = case
    found = positive_balance(
        group,
        labels,
        relative_to=relative_to,
        smoothing=smoothing,
        min_rows=min_rows,
        thresholds=thresholds,
    )
    assert (found.labels, found.names, found.thresholds) == (("a", "b"), NAMES, thresholds)
    assert found.groups.tolist() == sorted(set(group.tolist()))
    rate = {name: np.nanmean(values) for name, values in labels.items()}
    for i, own in enumerate(found.groups):
        rows, positives, amount = [], [], []
        for name, values in labels.items():
            present = [v for v in values[group == own].tolist() if v == v]
            rows.append(len(present))
            positives.append(sum(present))
            smooth = positives[-1] + smoothing * rate[name]
            if relative_to == "base_rate":
                below = (rows[-1] + smoothing) * rate[name]
                smooth = smooth / below if below else math.nan
            amount.append(smooth)
        assert found.rows[:, i].tolist() == rows
        assert found.positives[:, i].tolist() == positives
        if max(rows) < max(min_rows, 1) or not any(positives) or any(map(math.isnan, amount)):
            assert found.slice_of_group[i] == 3
            continue
        top, bottom = (math.log2(x) if x else -math.inf for x in amount)
        balance = top - bottom
        assert found.balance[i] == pytest.approx(balance, abs=1e-9)
        low, high = thresholds
        if min(abs(balance - low), abs(balance - high)) > 1e-9:
            assert found.slice_of_group[i] == (0 if balance > high else 2 if balance < low else 1)


def toy(rows_of):
    """Labels by group: {group: (rows, positives of a, positives of b)}."""
    group, a, b = [], [], []
    for name, (rows, of_a, of_b) in rows_of.items():
        group += [name] * rows
        a += [1] * of_a + [0] * (rows - of_a)
        b += [1] * of_b + [0] * (rows - of_b)
    return np.array(group), {"a": np.array(a), "b": np.array(b)}


TOY = {"fan": (20, 18, 1), "even": (20, 10, 2), "liker": (20, 2, 5), "new": (2, 2, 0)}

TOY["silent"] = (20, 0, 0)


def test_a_toy_by_base_rate_and_by_counts():
    group, labels = toy(TOY)
    by_rate = positive_balance(group, labels, smoothing=1)
    assert dict(zip(by_rate.groups.tolist(), by_rate.slice_of_group.tolist(), strict=True)) == {
        "fan": 0,
        "even": 1,
        "liker": 2,
        "new": 3,
        "silent": 3,
    }
    by_count = positive_balance(group, labels, smoothing=1, relative_to="counts")
    assert by_count.slice_of_group[by_count.groups == "even"] == 0


def test_unknown_groups_are_cold():
    found = positive_balance(*toy(TOY), smoothing=1)
    test = ["even", "nobody", "liker", "zzz", "aaa", "silent"]
    assert found.assign(test).tolist() == [1, 3, 2, 3, 3, 3]


def test_quantiles_cut_the_groups_that_are_not_cold():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 300, 9000)
    labels = {"a": rng.random(9000) < 0.4, "b": rng.random(9000) < 0.1}
    labels = {name: values.astype(int) for name, values in labels.items()}
    found = positive_balance(group, labels, quantiles=(1 / 3, 2 / 3))
    share = np.bincount(found.slice_of_group, minlength=4) / len(found.groups)
    np.testing.assert_allclose(share, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.02)
    low, high = found.thresholds
    again = positive_balance(group, labels, thresholds=(low, high))
    np.testing.assert_array_equal(again.slice_of_group, found.slice_of_group)


@patient
@given(train())
def test_swapping_the_tasks_swaps_the_slices(case):
    group, labels = case
    one = positive_balance(group, labels)
    other = positive_balance(group, labels, pair=("b", "a"))
    np.testing.assert_array_equal(other.slice_of_group, np.array([2, 1, 0, 3])[one.slice_of_group])
    np.testing.assert_allclose(other.balance, -one.balance)


LABELS = {"a": [0, 1, 0, 1], "b": [1, 0, 0, 1]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": {**LABELS, "c": [0, 1, 1, 1]}}, ConfigError, "pair: there are 3 tasks"),
        ({"pair": ("a", "bb")}, ConfigError, "must be one of a, b, found 'bb'. Did you mean 'b'"),
        ({"pair": ("a", "a")}, ConfigError, r"two different labels, found \['a', 'a'\]"),
        ({"relative_to": "count"}, ConfigError, "'count'. Did you mean 'counts'"),
        ({"smoothing": -1}, ConfigError, "smoothing: .* found -1"),
        ({"smoothing": math.nan}, ConfigError, "smoothing: .* found nan"),
        ({"thresholds": (1, -1)}, ConfigError, "thresholds"),
        ({"quantiles": (0.5, 1.5)}, ConfigError, "quantiles"),
        ({"quantiles": (0.3, 0.6), "min_rows": 9}, DataError, "all 2 groups .* fewer than 9"),
        (
            {"labels": {"a": [0, 2, 0, 1], "b": [1, 0, 0, 1]}},
            DataError,
            "1 of 4 labels .*such as 2",
        ),
        ({"labels": {"a": [0, 0, 0, 0], "b": [1, 0, 0, 1]}}, DataError, "a has no positive"),
        ({"group_id": [1, 1, 2]}, DataError, "same length"),
    ],
)
def test_choices_that_make_no_sense_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        positive_balance(**{"group_id": [1, 1, 2, 2], "labels": LABELS, **change})


def test_ids_of_another_kind_are_refused():
    found = positive_balance([1, 1, 2, 2], LABELS)
    with pytest.raises(DataError, match="group_id has dtype <U1, but the groups .* int64"):
        found.assign(["1", "2"])
