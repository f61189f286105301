"""Stacks of experts and gates: what a config may ask of them, and no part that nothing reads."""

import pytest
import torch

from fuxictr_stem.layers import ExpertStack, aftb_rules, cgc_rules
from tests.support.small_models import feature_map, small_model


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_layers": 0}, "num_layers: must be a whole number from 1 to 1000, found 0"),
        (
            {"num_shared_experts": 0},
            "num_shared_experts: must be a whole number from 1 to 1000, found 0",
        ),
        ({"num_specific_experts": 0}, "num_specific_experts: must be a whole number from 1"),
        ({"gate_input": "tasks"}, "gate_input: must be .* found 'tasks'"),
        ({"net_dropout": [0.1, 0.2, 0.3]}, "one entry for each of the 2 hidden layers"),
    ],
)
def test_wrong_sizes_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        small_model("STEMNet", feature_map(), **params)


@pytest.mark.parametrize("gate_input", ["task_plus_shared", "task"])
@pytest.mark.parametrize("make_rules", [aftb_rules, cgc_rules])
def test_the_last_layer_has_no_gate_that_nobody_reads(make_rules, gate_input):
    stack = ExpertStack(
        3,
        2,
        6,
        [5, 4],
        make_rules=make_rules,
        num_specific_experts=2,
        num_shared_experts=1,
        gate_hidden_units=[3],
        gate_input=gate_input,
        hidden_activations="tanh",
    )
    assert [len(layer.gates.output) for layer in stack.layers] == [3, 3, 2]
    out = stack(torch.randn(3, 7, 6))
    assert out.shape == (2, 7, 4)
    out.square().sum().backward()
    for name, parameter in stack.named_parameters():
        # Group by group: an expert or a gate must not hide behind its neighbours.
        for part in parameter.grad:
            assert part.abs().sum() > 0, name
