"""PLE: progressive layered extraction (Tang et al., RecSys 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import ExpertStack, GroupedMLP, cgc_rules
from fuxictr_stem.layers.grouped import Activations
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import DEFAULT_INITIALIZER, TaskEmbedding


class PLE(MultiTaskNet):
    """Specific and shared experts under CGC gates on one table, a tower a task.

    Every stream of the first layer reads the same embedding; ``y_i = activation(tower_i(o_i))`` with
    ``o_i`` the mixture of task i's own and the shared experts.

    Args:
        feature_map: FuxiCTR's description of the features.
        embedding_dim: Width of an embedding.
        num_layers: Number of extraction layers.
        num_shared_experts: Shared experts of each layer.
        num_specific_experts: Experts of each task in each layer.
        expert_hidden_units: Widths of an expert's layers.
        gate_hidden_units: Widths of a gate's hidden layers.
        tower_hidden_units: Widths of a tower's hidden layers.
        hidden_activations: FuxiCTR's name of the activation, or one a hidden layer.
        net_dropout: Dropout of experts, gates and towers, or one a hidden layer.
        batch_norm: Whether their hidden layers are batch-normalised.
        shared_gate_reads: As in `cgc_rules`; of effect from two layers on.
        embedding_initializer: FuxiCTR's expression of the table's initializer.
        params: As in `MultiTaskNet`.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        embedding_dim: int = 10,
        num_layers: int = 1,
        num_shared_experts: int = 1,
        num_specific_experts: int = 1,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        tower_hidden_units: Sequence[int] = (128, 64),
        hidden_activations: Activations = "ReLU",
        net_dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        shared_gate_reads: Literal["all", "shared"] = "all",
        embedding_initializer: str = DEFAULT_INITIALIZER,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        mlp: dict[str, Any] = {
            "hidden_activations": hidden_activations,
            "dropout_rates": net_dropout,
            "batch_norm": batch_norm,
        }
        self.embedding_layer = TaskEmbedding(
            feature_map, embedding_dim, self.num_tables(), embedding_initializer
        )
        self.experts = ExpertStack(
            num_layers,
            self.num_tasks,
            self.embedding_layer.output_dim,
            expert_hidden_units,
            num_specific_experts=num_specific_experts,
            num_shared_experts=num_shared_experts,
            gate_hidden_units=gate_hidden_units,
            make_rules=partial(cgc_rules, shared_gate_reads=shared_gate_reads),
            **mlp,
        )
        self.towers = GroupedMLP(
            self.num_tasks, expert_hidden_units[-1], tower_hidden_units, output_dim=1, **mlp
        )
        self.finish()

    def num_tables(self) -> int:
        """Return how many embedding tables there are: one for all streams."""
        return 1

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_KBI = self.embedding_layer(self.get_inputs(inputs))
        streams = x_KBI.expand(self.num_tasks + 1, -1, -1)
        return self.named_predictions(self.towers(self.experts(streams)))
