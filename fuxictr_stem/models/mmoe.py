"""MMoE: one set of experts, a gate a task (Ma et al., KDD 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import GateBank, GroupedMLP, free_rules
from fuxictr_stem.layers.grouped import Activations
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import DEFAULT_INITIALIZER, TaskEmbedding


class MMoE(MultiTaskNet):
    """``y_i = activation(tower_i(sum_e g_i[e] expert_e(x)))`` with ``g_i = softmax(MLP_i(x))``.

    Args:
        feature_map: FuxiCTR's description of the features.
        embedding_dim: Width of an embedding.
        num_experts: Number of experts.
        expert_hidden_units: Widths of an expert's layers, each with an activation.
        gate_hidden_units: Widths of a gate's hidden layers.
        tower_hidden_units: Widths of a tower's hidden layers.
        hidden_activations: FuxiCTR's name of the activation, or one a hidden layer.
        net_dropout: Dropout of experts, gates and towers, or one a hidden layer.
        batch_norm: Whether their hidden layers are batch-normalised.
        embedding_initializer: FuxiCTR's expression of the table's initializer.
        params: As in `MultiTaskNet`.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        embedding_dim: int = 10,
        num_experts: int = 4,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        tower_hidden_units: Sequence[int] = (128, 64),
        hidden_activations: Activations = "ReLU",
        net_dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        embedding_initializer: str = DEFAULT_INITIALIZER,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        if num_experts < 1:
            raise ValueError(f"num_experts must be at least 1, but got {num_experts}.")
        mlp: dict[str, Any] = {
            "hidden_activations": hidden_activations,
            "dropout_rates": net_dropout,
            "batch_norm": batch_norm,
        }
        self.embedding_layer = TaskEmbedding(
            feature_map, embedding_dim, self.num_tables(), embedding_initializer
        )
        width = self.embedding_layer.output_dim
        self.experts = GroupedMLP(num_experts, width, expert_hidden_units, **mlp)
        rules = free_rules(self.num_gates(), num_experts)
        self.gates = GateBank(rules, width, gate_hidden_units, **mlp)
        self.towers = GroupedMLP(
            self.num_tasks, self.experts.output_dim, tower_hidden_units, output_dim=1, **mlp
        )
        self.finish()

    def num_gates(self) -> int:
        """Return how many gates there are: one a task."""
        return self.num_tasks

    def num_tables(self) -> int:
        """Return how many embedding tables there are: one for all streams."""
        return 1

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_KBI = self.embedding_layer(self.get_inputs(inputs))
        experts_EBH = self.experts(x_KBI[-1:])
        gate_inputs = x_KBI[:-1] if len(x_KBI) > 1 else x_KBI
        return self.named_predictions(self.towers(self.gates(gate_inputs, experts_EBH)))
