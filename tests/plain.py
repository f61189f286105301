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


class _PlainSTEMLayer(nn.Module):
    def __init__(self, tasks, width, shared, specific, expert_units, gate_units, mlp):
        super().__init__()

        def experts(count):
            return nn.ModuleList(MLP_Block(width, expert_units, **mlp) for _ in range(count))

        slots = specific * tasks + shared
        self.shared_experts = experts(shared)
        self.specific_experts = nn.ModuleList(experts(specific) for _ in range(tasks))
        self.gate = nn.ModuleList(
            MLP_Block(width, gate_units, output_dim=slots, **mlp) for _ in range(tasks + 1)
        )

    def forward(self, x):
        tasks = len(self.specific_experts)
        specific = [[e(x[i]) for e in experts] for i, experts in enumerate(self.specific_experts)]
        shared = [e(x[-1]) for e in self.shared_experts]
        outputs = []
        for i in range(tasks + 1):
            read = [
                out if i in (j, tasks) else out.detach()
                for j in range(tasks)
                for out in specific[j]
            ]
            gate = self.gate[i](x[i] + x[-1] if i < tasks else x[-1]).softmax(-1)
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
        self.embedding_dim = embedding_dim
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim * (self.num_tasks + 1))
        width = embedding_dim * feature_map.num_fields
        self.stem_layers = nn.ModuleList(
            _PlainSTEMLayer(
                self.num_tasks,
                expert_hidden_units[-1] if depth else width,
                num_shared_experts,
                num_specific_experts,
                expert_hidden_units,
                gate_hidden_units,
                self.mlp,
            )
            for depth in range(num_layers)
        )
        self.tower = self.towers(expert_hidden_units[-1], tower_hidden_units)
        self.finish(params)

    def forward(self, inputs):
        wide = self.embedding_layer(self.get_inputs(inputs))
        x = [part.flatten(1) for part in wide.split(self.embedding_dim, dim=2)]
        for layer in self.stem_layers:
            x = layer(x)
        return self.answer(x)
