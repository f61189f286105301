"""PLE and ME-PLE against an oracle written from their equations."""

import pytest
import torch

from tests.support.oracle_models import assert_same, mlp, stem_gate, streams
from tests.support.small_models import batch, feature_map, small_model


def ple_oracle(model, columns, row, reads_all, many_tables=False):
    tasks = model.num_tasks
    x = streams(model, columns, row, many_tables)
    layers = list(model.experts.layers)
    for depth, layer in enumerate(layers):
        k1 = layer.specific_experts.num_groups // tasks
        k2 = layer.shared_experts.num_groups
        s = [
            [mlp(layer.specific_experts, k * k1 + j, x[k], False) for j in range(k1)]
            for k in range(tasks)
        ]
        h = [mlp(layer.shared_experts, j, x[tasks], False) for j in range(k2)]
        out = []
        for i in range(tasks):
            read = s[i] + h
            g = stem_gate(layer, i, x[i])
            out.append(sum(g[n] * read[n] for n in range(len(read))))
        if depth < len(layers) - 1:
            read = [e for own in s for e in own] + h if reads_all else h
            g = stem_gate(layer, tasks, x[tasks])
            out.append(sum(g[n] * read[n] for n in range(len(read))))
        x = out
    return [torch.sigmoid(mlp(model.towers, i, x[i], True)[0]) for i in range(tasks)]


@pytest.mark.parametrize("reads", ["all", "shared"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_ple(tasks, num_layers, reads):
    fmap = feature_map(labels=tasks)
    model = small_model("PLE", fmap, num_layers=num_layers, shared_gate_reads=reads).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: ple_oracle(model, columns, row, reads == "all"))


@pytest.mark.parametrize("reads", ["all", "shared"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_me_ple(tasks, num_layers, reads):
    fmap = feature_map(labels=tasks)
    model = small_model("MEPLE", fmap, num_layers=num_layers, shared_gate_reads=reads).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(
        model,
        columns,
        lambda row: ple_oracle(model, columns, row, reads == "all", many_tables=True),
    )
