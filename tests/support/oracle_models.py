"""What the oracles of models share: written from the equations, one sample, task and expert at a time.

They read the weights of our models and share no other code with them. They run in float64; both sides'
outputs and the gradients of every task's loss in every parameter must agree.
"""

import torch
from torch.nn.functional import binary_cross_entropy

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
