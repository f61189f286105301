"""Where a search chose the end of its grid."""

import pytest

from fuxictr_stem.tuning.space import at_edge


def trials(*rates, chosen, key="learning_rate"):
    return [
        {"settings": {key: rate}, "monitor": "AUC", "value": 0.7, "chosen": rate == chosen}
        for rate in rates
    ]


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
    assert at_edge(searched) == edge
