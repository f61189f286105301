"""Where a search chose the end of its grid, and how much of the results' variance a setting explains."""

from itertools import product

import numpy as np
import pytest

from fuxictr_stem.tuning.trials import importance
from tests.support.made_up_trials import trials


@pytest.mark.parametrize(
    ("searched", "edge"),
    [
        (trials(2e-3, 1e-3, 5e-4, chosen=5e-4), {"learning_rate": "the lowest of 3"}),
        (trials(2e-3, 1e-3, 5e-4, chosen=2e-3), {"learning_rate": "the highest of 3"}),
        (trials(2e-3, 1e-3, 5e-4, chosen=1e-3), {}),
        (trials(16, 8, chosen=8, key="embedding_dim"), {"embedding_dim": "the lowest of 2"}),
        (trials("adam", "sgd", chosen="sgd"), {}),
        (trials(True, False, chosen=True), {}),
        # No penalty is the lowest that there is, and was tried.
        (trials(None, 1e-6, 1e-5, chosen=None), {}),
        (trials(None, 1e-6, 1e-5, chosen=1e-6), {}),
        (trials(None, 1e-6, 1e-5, chosen=1e-5), {"learning_rate": "the highest of 3"}),
        (trials(0, 0.5, chosen=0, key="net_dropout"), {}),
        (trials(1e-3, chosen=1e-3), {}),
        (trials(2e-3, 1e-3, chosen=None), {}),
    ],
)
def test_a_choice_at_the_edge_of_its_grid_is_known(searched, edge):
    assert searched.edges() == edge


def test_a_full_grid_is_split_into_its_main_effects():
    settings = [{"a": a, "b": b, "c": c} for a, b, c in product(range(3), range(2), range(4))]
    values = [3.0 * point["a"] + 2.0 * point["b"] for point in settings]
    shares = importance(settings, values)
    variances = {"a": 9 * np.var(range(3)), "b": 4 * np.var(range(2)), "c": 0.0}
    total = sum(variances.values())
    for key, groups in (("a", 3), ("b", 2), ("c", 4)):
        plain = variances[key] / total
        expected = max(1 - (1 - plain) * 23 / (24 - groups), 0)
        assert shares[key] == pytest.approx(expected)


def test_chance_explains_nothing_on_average():
    rng = np.random.default_rng(0)
    shares = [
        importance([{"rate": rate} for rate in rng.random(24)], rng.normal(size=24).tolist())
        for _ in range(200)
    ]
    # Epsilon squared is unbiased but for the cut at zero; eta squared would be 3 / 23 here.
    assert np.mean([share["rate"] for share in shares]) < 0.07


def test_keys_that_never_differ_have_none_and_of_too_few_trials_nothing_is_known():
    shares = importance([{"a": 1, "b": 1}, {"a": 2, "b": 1}], [0.1, 0.2])
    assert list(shares) == ["a"]
    assert np.isnan(shares["a"])
    assert importance([{"a": True}, {"a": None}, {"a": True}], [1.0, 1.0, 1.0]) == {"a": 0.0}
