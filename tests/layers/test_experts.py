"""Stacks of experts and gates: what a config may ask of them."""

import pytest

from tests.support.small_models import feature_map, small_model


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_layers": 0}, "num_layers must be at least 1, but got 0"),
        ({"num_shared_experts": 0}, "num_shared_experts must be at least 1, but got 0"),
        ({"num_specific_experts": 0}, "num_specific_experts must be at least 1"),
        ({"gate_input": "tasks"}, "gate_input must be .* got 'tasks'"),
        ({"net_dropout": [0.1, 0.2, 0.3]}, "one entry for each of the 2 hidden layers"),
    ],
)
def test_wrong_sizes_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        small_model("STEMNet", feature_map(), **params)
