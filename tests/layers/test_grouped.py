"""Grouped layers are lists of FuxiCTR's layers."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.layers import GroupedLinear, GroupedMLP


@given(streams=st.integers(1, 3), per_stream=st.integers(1, 3), bias=st.booleans())
def test_grouped_linear_is_a_list_of_linears(streams, per_stream, bias):
    groups = streams * per_stream
    ours = GroupedLinear(groups, 4, 5, bias=bias)
    x = torch.randn(streams, 7, 4)
    out = ours(x)
    for group in range(groups):
        b = ours.bias[group] if bias else None
        expected = torch.nn.functional.linear(x[group // per_stream], ours.weight[group], b)
        torch.testing.assert_close(out[group], expected)


def test_an_mlp_without_hidden_layers_is_linear():
    ours = GroupedMLP(2, 3, [], output_dim=1)
    assert [type(layer) for layer in ours.layers] == [GroupedLinear]
    assert GroupedMLP(2, 3, []).output_dim == 3
