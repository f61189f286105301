"""MMoE, OMoE and ME-MMoE against an oracle written from their equations."""

import pytest
import torch

from tests.support.oracle_models import assert_same, mlp, streams
from tests.support.small_models import batch, feature_map, small_model


def mixture_oracle(model, columns, row, one_gate=False, many_tables=False):
    x = streams(model, columns, row, many_tables)
    experts = [mlp(model.experts, e, x[-1], False) for e in range(model.experts.num_groups)]
    outputs = []
    for i in range(model.num_tasks):
        gate = 0 if one_gate else i
        hidden = mlp(model.gates.hidden, gate, x[i], False)
        scores = model.gates.output[gate].weight @ hidden + model.gates.output[gate].bias
        powers = torch.exp(scores)
        g = powers / powers.sum()
        mixed = sum(g[e] * experts[e] for e in range(len(experts)))
        outputs.append(torch.sigmoid(mlp(model.towers, i, mixed, True)[0]))
    return outputs


@pytest.mark.parametrize("name", ["MMoE", "OMoE"])
@pytest.mark.parametrize("tasks", [1, 3])
def test_mixtures(name, tasks):
    fmap = feature_map(labels=tasks)
    model = small_model(name, fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: mixture_oracle(model, columns, row, name == "OMoE"))


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_me_mmoe(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("MEMMoE", fmap).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: mixture_oracle(model, columns, row, many_tables=True))
