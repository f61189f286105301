"""The models from FuxiCTR's own blocks, with lists of modules and nothing batched.

They name their parts as the published code does, so that `load_reference_state_dict` reads them. They are
the other side of the comparisons: same weights, same batches, same losses.
"""

import torch
from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import MultiTaskModel
from torch import nn


class _Plain(MultiTaskModel):
    def __init__(self, feature_map, **params):
        labels = len(feature_map.labels)
        defaults = {"verbose": 0, "model_root": "./checkpoints/", "metrics": ["AUC"]}
        defaults |= {"num_tasks": labels, "task": "binary_classification"}
        super().__init__(feature_map, **{**defaults, **params})
        self._max_gradient_norm = params.get("max_gradient_norm", 10.0)
        self.mlp = {
            "hidden_activations": params.get("hidden_activations", "ReLU"),
            "dropout_rates": params.get("net_dropout", 0),
            "batch_norm": params.get("batch_norm", False),
        }

    def finish(self, params):
        loss = params.get("loss", "binary_crossentropy")
        self.compile(params.get("optimizer", "adam"), loss, params.get("learning_rate", 1e-3))
        self.reset_parameters()

    def towers(self, width, units):
        return nn.ModuleList(
            MLP_Block(width, units, output_dim=1, **self.mlp) for _ in range(self.num_tasks)
        )

    def stack(self, feature_map, num_layers, aftb, **sizes):
        width = self.embedding_dim * feature_map.num_fields
        return nn.ModuleList(
            _PlainExperts(
                self.num_tasks,
                sizes["expert_hidden_units"][-1] if depth else width,
                sizes["num_shared_experts"],
                sizes["num_specific_experts"],
                sizes["expert_hidden_units"],
                sizes["gate_hidden_units"],
                self.mlp,
                aftb,
            )
            for depth in range(num_layers)
        )

    def answer(self, outputs):
        labels = self.feature_map.labels
        return {
            f"{label}_pred": self.output_activation[i](self.tower[i](outputs[i]))
            for i, label in enumerate(labels)
        }


class PlainSharedBottom(_Plain):
    def __init__(
        self, feature_map, embedding_dim, bottom_hidden_units, tower_hidden_units, **params
    ):
        super().__init__(feature_map, **params)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        width = embedding_dim * feature_map.num_fields
        self.bottom = MLP_Block(width, bottom_hidden_units, **self.mlp)
        self.tower = self.towers(bottom_hidden_units[-1], tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        bottom = self.bottom(self.embedding_layer(self.get_inputs(inputs), flatten_emb=True))
        return self.answer([bottom] * self.num_tasks)


class _PlainExperts(nn.Module):
    """One layer of STEM or PLE; ``aftb`` says which."""

    def __init__(self, tasks, width, shared, specific, expert_units, gate_units, mlp, aftb):
        super().__init__()

        def experts(count):
            return nn.ModuleList(MLP_Block(width, expert_units, **mlp) for _ in range(count))

        def gate(slots):
            return MLP_Block(width, gate_units, output_dim=slots, **mlp)

        self.aftb = aftb
        self.shared_experts = experts(shared)
        self.specific_experts = nn.ModuleList(experts(specific) for _ in range(tasks))
        slots = [specific * tasks + shared] * (tasks + 1)
        if not aftb:
            slots = [specific + shared] * tasks + [shared]
        self.gate = nn.ModuleList(gate(n) for n in slots)

    def forward(self, x):
        tasks = len(self.specific_experts)
        specific = [[e(x[i]) for e in experts] for i, experts in enumerate(self.specific_experts)]
        shared = [e(x[-1]) for e in self.shared_experts]
        outputs = []
        for i in range(tasks + 1):
            if self.aftb:
                read = [
                    out if i in (j, tasks) else out.detach()
                    for j in range(tasks)
                    for out in specific[j]
                ]
            else:
                read = specific[i] if i < tasks else []
            seen = x[i] + x[-1] if self.aftb and i < tasks else x[i]
            gate = self.gate[i](seen).softmax(-1)
            outputs.append((gate.unsqueeze(-1) * torch.stack(read + shared, 1)).sum(1))
        return outputs


class PlainSTEM(_Plain):
    """The published STEM: wide tables, a dead gate in the last layer, no isolation of the shared gate."""

    def __init__(
        self,
        feature_map,
        embedding_dim,
        num_layers,
        num_shared_experts,
        num_specific_experts,
        expert_hidden_units,
        gate_hidden_units,
        tower_hidden_units,
        **params,
    ):
        super().__init__(feature_map, **params)
        sizes = {
            "num_shared_experts": num_shared_experts,
            "num_specific_experts": num_specific_experts,
            "expert_hidden_units": expert_hidden_units,
            "gate_hidden_units": gate_hidden_units,
        }
        self.embedding_dim = embedding_dim
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim * (self.num_tasks + 1))
        self.stem_layers = self.stack(feature_map, num_layers, aftb=True, **sizes)
        self.tower = self.towers(sizes["expert_hidden_units"][-1], tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        wide = self.embedding_layer(self.get_inputs(inputs))
        x = [part.flatten(1) for part in wide.split(self.embedding_dim, dim=2)]
        for layer in self.stem_layers:
            x = layer(x)
        return self.answer(x)


class PlainPLE(_Plain):
    """The published PLE: its shared gate reads the shared experts only."""

    def __init__(
        self,
        feature_map,
        embedding_dim,
        num_layers,
        num_shared_experts,
        num_specific_experts,
        expert_hidden_units,
        gate_hidden_units,
        tower_hidden_units,
        **params,
    ):
        super().__init__(feature_map, **params)
        sizes = {
            "num_shared_experts": num_shared_experts,
            "num_specific_experts": num_specific_experts,
            "expert_hidden_units": expert_hidden_units,
            "gate_hidden_units": gate_hidden_units,
        }
        self.embedding_dim = embedding_dim
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.cgc_layers = self.stack(feature_map, num_layers, aftb=False, **sizes)
        self.tower = self.towers(expert_hidden_units[-1], tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        x = [x] * (self.num_tasks + 1)
        for layer in self.cgc_layers:
            x = layer(x)
        return self.answer(x)


class _PlainMixture(nn.Module):
    def __init__(self, width, num_experts, expert_units, gate_units, mlp, gates):
        super().__init__()
        self.experts = nn.ModuleList(
            MLP_Block(width, expert_units, **mlp) for _ in range(num_experts)
        )
        made = [MLP_Block(width, gate_units, output_dim=num_experts, **mlp) for _ in range(gates)]
        self.gate = nn.ModuleList(made) if gates > 1 else made[0]

    def forward(self, x):
        experts = torch.stack([expert(x) for expert in self.experts], 1)
        gates = self.gate if isinstance(self.gate, nn.ModuleList) else [self.gate]
        return [(gate(x).softmax(-1).unsqueeze(-1) * experts).sum(1) for gate in gates]


class PlainMMoE(_Plain):
    part, one_gate = "mmoe_layer", False

    def __init__(
        self,
        feature_map,
        embedding_dim,
        num_experts,
        expert_hidden_units,
        gate_hidden_units,
        tower_hidden_units,
        **params,
    ):
        super().__init__(feature_map, **params)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        width = embedding_dim * feature_map.num_fields
        gates = 1 if self.one_gate else self.num_tasks
        mixture = _PlainMixture(
            width, num_experts, expert_hidden_units, gate_hidden_units, self.mlp, gates
        )
        setattr(self, self.part, mixture)
        self.tower = self.towers(expert_hidden_units[-1], tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        mixed = getattr(self, self.part)(x)
        return self.answer(mixed if len(mixed) > 1 else mixed * self.num_tasks)


class PlainOMoE(PlainMMoE):
    part, one_gate = "omoe_layer", True


class PlainAITM(_Plain):
    def __init__(
        self, feature_map, embedding_dim, bottom_hidden_units, tower_hidden_units, **params
    ):
        super().__init__(feature_map, **params)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        width, hidden = embedding_dim * feature_map.num_fields, bottom_hidden_units[-1]
        self.bottom = nn.ModuleList(
            MLP_Block(width, bottom_hidden_units, **self.mlp) for _ in range(self.num_tasks)
        )
        self.g = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(self.num_tasks - 1))
        self.h1, self.h2, self.h3 = (nn.Linear(hidden, hidden) for _ in range(3))
        self.tower = self.towers(hidden, tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        out = [bottom(x) for bottom in self.bottom]
        for i in range(1, self.num_tasks):
            both = torch.stack([self.g[i - 1](out[i - 1]), out[i]], dim=1)
            scores = (self.h2(both) * self.h3(both)).sum(2, keepdim=True) / both.shape[2] ** 0.5
            out[i] = (scores.softmax(1) * self.h1(both)).sum(1)
        return self.answer(out)


class PlainESMM(_Plain):
    """The published ESMM: its first tower gives the CVR, and its first label is the click."""

    def __init__(self, feature_map, embedding_dim, tower_hidden_units, **params):
        super().__init__(feature_map, **params)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.tower = self.towers(embedding_dim * feature_map.num_fields, tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        cvr, ctr = (tower(x).sigmoid() for tower in self.tower)
        click, conversion = self.feature_map.labels
        return {f"{click}_pred": ctr, f"{conversion}_pred": ctr * cvr}


PLAIN = {
    "AITM": PlainAITM,
    "ESMM": PlainESMM,
    "MMoE": PlainMMoE,
    "OMoE": PlainOMoE,
    "PLE": PlainPLE,
    "STEMNet": PlainSTEM,
    "SharedBottom": PlainSharedBottom,
}
# To name the published behaviour where ours differs by default.
AS_PUBLISHED = {"STEMNet": {"isolate_shared_gate": False}, "PLE": {"shared_gate_reads": "shared"}}
