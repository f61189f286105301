"""STEM-Net: shared and task-specific embeddings under AFTB gates (AAAI 2024, arXiv 2308.13537)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import ExpertStack, GateRules, GroupedMLP, aftb_rules
from fuxictr_stem.layers.experts import GateInput
from fuxictr_stem.layers.grouped import Activations
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import DEFAULT_INITIALIZER, TaskEmbedding


class STEMNet(MultiTaskNet):
    """T task tables and a shared one, specific and shared experts, AFTB gates, a tower a task.

    ``y_i = activation(tower_i(o_i))`` with ``o_i`` as in `ExpertLayer`; the loss is the sum of the tasks'
    losses. A task's loss trains its own and the shared side only, at any depth.

    Args:
        feature_map: FuxiCTR's description of the features.
        embedding_dim: Width of an embedding in each of the T + 1 tables.
        num_layers: Number of STEM layers.
        num_shared_experts: Shared experts of each layer.
        num_specific_experts: Experts of each task in each layer.
        expert_hidden_units: Widths of an expert's layers.
        gate_hidden_units: Widths of a gate's hidden layers.
        tower_hidden_units: Widths of a tower's hidden layers.
        hidden_activations: FuxiCTR's name of the activation, or one a hidden layer.
        net_dropout: Dropout of experts, gates and towers, or one a hidden layer.
        batch_norm: Whether their hidden layers are batch-normalised.
        gate_input: As in `ExpertLayer`.
        isolate_shared_gate: As in `aftb_rules`; of effect from two layers on.
        embedding_initializer: FuxiCTR's expression of the tables' initializer.
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
        gate_input: GateInput = "task_plus_shared",
        isolate_shared_gate: bool = True,
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
            feature_map, embedding_dim, self.num_tasks + 1, embedding_initializer
        )
        self.experts = ExpertStack(
            num_layers,
            self.num_tasks,
            self.embedding_layer.output_dim,
            expert_hidden_units,
            num_specific_experts=num_specific_experts,
            num_shared_experts=num_shared_experts,
            gate_hidden_units=gate_hidden_units,
            gate_input=gate_input,
            make_rules=partial(self.rules(), isolate_shared_gate=isolate_shared_gate),
            **mlp,
        )
        self.towers = GroupedMLP(
            self.num_tasks, expert_hidden_units[-1], tower_hidden_units, output_dim=1, **mlp
        )
        self.finish()

    def rules(self) -> Callable[..., GateRules]:
        """Return what makes the gates' rules: AFTB's."""
        return aftb_rules

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_SBI = self.embedding_layer(self.get_inputs(inputs))
        return self.named_predictions(self.towers(self.experts(x_SBI)))
