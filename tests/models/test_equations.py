"""The models against oracles written from the equations, one sample, task and expert at a time.

The oracles read the weights of our models and share no other code with them. They run in float64; both
sides' outputs and the gradients of every task's loss in every parameter must agree.
"""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from tests.support.small_models import batch, feature_map, small_model

FIELDS = ["a", "b", "c"]


def mlp(model_part, group, x, last_is_linear):
    """One MLP of a group, layer by layer, from its weight matrices."""
    linears = [layer for layer in model_part.layers if hasattr(layer, "weight")]
    for depth, layer in enumerate(linears):
        x = layer.weight[group] @ x + layer.bias[group]
        if not (last_is_linear and depth == len(linears) - 1):
            x = x * (x > 0)
    return x


def lookup(model, columns, row, table):
    """x_k of one sample: the table's part of each field's row, one field after the other."""
    embedding = model.embedding_layer
    parts = []
    for field in FIELDS:
        slot, vocab = embedding.vocab_of[field]
        tables = embedding.tables[slot]
        dim = tables.embedding_dim
        id_ = int(columns[field][row])
        if id_ == 0:  # padding: zero, and no gradient
            parts.append(torch.zeros(dim, dtype=torch.double))
        else:
            wide = tables.table.weight[tables.rows(vocab).start + id_ - 1]
            parts.append(wide[table * dim : (table + 1) * dim])
    return torch.cat(parts)


def stem_gate(layer, gate, x):
    hidden = mlp(layer.gates.hidden, gate, x, last_is_linear=False)
    scores = layer.gates.output[gate].weight @ hidden + layer.gates.output[gate].bias
    powers = torch.exp(scores - scores.max())
    return powers / powers.sum()


def stem_oracle(model, columns, row, gate_input, isolate, auxiliary=()):
    tasks = model.num_tasks
    x = [lookup(model, columns, row, k) for k in range(tasks + 1)]
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
            g = stem_gate(layer, i, x[i] + x[tasks] if gate_input == "task_plus_shared" else x[i])
            total = 0
            if i in auxiliary:
                read = s[i] + h
                out.append(sum(g[n] * read[n] for n in range(len(read))))
                continue
            for k in range(tasks):
                for j in range(k1):
                    total = total + g[k * k1 + j] * (s[k][j] if k == i else s[k][j].detach())
            for j in range(k2):
                total = total + g[tasks * k1 + j] * h[j]
            out.append(total)
        if depth < len(layers) - 1:
            g = stem_gate(layer, tasks, x[tasks])
            total = 0
            for k in range(tasks):
                for j in range(k1):
                    total = total + g[k * k1 + j] * (s[k][j].detach() if isolate else s[k][j])
            for j in range(k2):
                total = total + g[tasks * k1 + j] * h[j]
            out.append(total)
        x = out
    return [torch.sigmoid(mlp(model.towers, i, x[i], True)[0]) for i in range(tasks)]


def streams(model, columns, row, many_tables):
    """x_0 .. x_T: each task's and the shared stream's, from a table each or all from one."""
    return [
        lookup(model, columns, row, k if many_tables else 0) for k in range(model.num_tasks + 1)
    ]


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


def aitm_oracle(model, columns, row):
    x = lookup(model, columns, row, 0)
    outputs, z = [], None
    for i in range(model.num_tasks):
        q = mlp(model.bottoms, i, x, False)
        if z is None:
            z = q
        else:
            linear = model.transfers[i - 1]
            p = linear.weight @ z + linear.bias
            part = {n: (m.weight, m.bias) for n, m in model.attention.items()}
            value, key, query = (
                [part[n][0] @ u + part[n][1] for u in (p, q)] for n in ("value", "key", "query")
            )
            scores = [(key[n] * query[n]).sum() / len(q) ** 0.5 for n in range(2)]
            total = torch.exp(scores[0]) + torch.exp(scores[1])
            z = sum(torch.exp(scores[n]) / total * value[n] for n in range(2))
        outputs.append(torch.sigmoid(mlp(model.towers, i, z, True)[0]))
    return outputs


def bottom_oracle(model, columns, row):
    bottom = mlp(model.bottom, 0, lookup(model, columns, row, 0), False)
    return [torch.sigmoid(mlp(model.towers, i, bottom, True)[0]) for i in range(model.num_tasks)]


def esmm_oracle(model, columns, row):
    """In the order of the labels; the published code's first tower gives the CVR."""
    x = lookup(model, columns, row, 0)
    cvr, ctr = (1 / (1 + torch.exp(-mlp(model.towers, i, x, True)[0])) for i in range(2))
    by_role = {model.click_label: ctr, model.conversion_label: ctr * cvr}
    return [by_role[label] for label in model.labels]


def assert_same(model, columns, oracle):
    """Predictions and per-task gradients of a model equal an oracle's, (row) -> one output per task."""
    rows = range(len(columns["a"]))
    expected = [torch.stack([oracle(row)[i] for row in rows]) for i in range(model.num_tasks)]
    outputs = model(columns)
    parameters = list(model.parameters())
    for i, label in enumerate(model.labels):
        found = outputs[f"{label}_pred"].flatten()
        torch.testing.assert_close(found, expected[i], rtol=1e-9, atol=1e-12)
        y = columns[label].double()
        ours, theirs = (
            torch.autograd.grad(
                binary_cross_entropy(p, y), parameters, retain_graph=True, allow_unused=True
            )
            for p in (found, expected[i])
        )
        for (name, parameter), a, b in zip(model.named_parameters(), ours, theirs, strict=True):
            a = torch.zeros_like(parameter) if a is None else a
            b = torch.zeros_like(parameter) if b is None else b
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("gate_input", ["task_plus_shared", "task"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize(("k1", "k2"), [(1, 2), (2, 1)])
def test_stem_net(tasks, num_layers, gate_input, k1, k2):
    fmap = feature_map(labels=tasks)
    model = small_model(
        "STEMNet",
        fmap,
        num_layers=num_layers,
        gate_input=gate_input,
        num_specific_experts=k1,
        num_shared_experts=k2,
    ).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: stem_oracle(model, columns, row, gate_input, True))


def test_stem_net_with_the_published_shared_gate():
    fmap = feature_map(labels=2)
    model = small_model("STEMNet", fmap, num_layers=3, isolate_shared_gate=False).double()
    columns = batch(fmap, size=5)
    assert_same(
        model, columns, lambda row: stem_oracle(model, columns, row, "task_plus_shared", False)
    )


@pytest.mark.parametrize("num_layers", [1, 2])
def test_stem_net_with_auxiliary_labels(num_layers):
    fmap = feature_map(labels=3)
    model = small_model("STEMAL", fmap, num_layers=num_layers, auxiliary_labels=["y0", "y2"])
    model = model.double()
    columns = batch(fmap, size=5)
    assert_same(
        model,
        columns,
        lambda row: stem_oracle(model, columns, row, "task_plus_shared", True, auxiliary=(0, 2)),
    )


@pytest.mark.parametrize("tasks", [1, 3])
def test_shared_bottom(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("SharedBottom", fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: bottom_oracle(model, columns, row))


@pytest.mark.parametrize("reads", ["all", "shared"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_ple(tasks, num_layers, reads):
    fmap = feature_map(labels=tasks)
    model = small_model("PLE", fmap, num_layers=num_layers, shared_gate_reads=reads).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: ple_oracle(model, columns, row, reads == "all"))


@pytest.mark.parametrize("name", ["MMoE", "OMoE"])
@pytest.mark.parametrize("tasks", [1, 3])
def test_mixtures(name, tasks):
    fmap = feature_map(labels=tasks)
    model = small_model(name, fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: mixture_oracle(model, columns, row, name == "OMoE"))


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_aitm(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("AITM", fmap).double()
    columns = batch(fmap, size=5)
    assert_same(model, columns, lambda row: aitm_oracle(model, columns, row))


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_me_mmoe(tasks):
    fmap = feature_map(labels=tasks)
    model = small_model("MEMMoE", fmap).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: mixture_oracle(model, columns, row, many_tables=True))


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


@pytest.mark.parametrize("click", ["y0", "y1"])
def test_esmm(click):
    fmap = feature_map()
    conversion = "y1" if click == "y0" else "y0"
    model = small_model("ESMM", fmap, click_label=click, conversion_label=conversion).double()
    columns = batch(fmap, size=5)
    columns["a"][0] = 0  # padding
    assert_same(model, columns, lambda row: esmm_oracle(model, columns, row))
