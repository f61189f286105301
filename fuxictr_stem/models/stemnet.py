"""STEM-Net: shared and task-specific embeddings under AFTB gates (AAAI 2024, arXiv 2308.13537)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import ExpertStack, aftb_rules
from fuxictr_stem.layers.experts import GateInput
from fuxictr_stem.models.base import MultiTaskNet


class STEMNet(MultiTaskNet):
    """T task tables and a shared one, specific and shared experts, AFTB gates, one tower per task.

    ``y_i = activation(tower_i(o_i))`` with ``o_i`` as in `ExpertLayer`; the loss is the sum of the tasks'
    losses. A task's loss trains its own and the shared side only, at any depth.

    Args:
        feature_map: FuxiCTR's description of the features.
        num_layers: Number of STEM layers.
        num_shared_experts: Shared experts of each layer.
        num_specific_experts: Experts of each task in each layer.
        expert_hidden_units: Widths of an expert's layers.
        gate_hidden_units: Widths of a gate's hidden layers.
        gate_input: As in `ExpertLayer`.
        isolate_shared_gate: As in `aftb_rules`; of effect from two layers on.
        params: As in `MultiTaskNet`.

    Example:
        >>> import torch
        >>> feature_map = FeatureMap("shop", data_dir=".")
        >>> field = {"type": "categorical", "vocab_size": 9}
        >>> feature_map.features = {"user": field, "item": field}
        >>> feature_map.labels = ["click", "buy"]
        >>> model = STEMNet(feature_map, embedding_dim=4, expert_hidden_units=[8])
        >>> scores = model({"user": torch.tensor([1, 2, 3]), "item": torch.tensor([4, 4, 8])})
        >>> {name: tuple(score.shape) for name, score in scores.items()}
        {'click_pred': (3, 1), 'buy_pred': (3, 1)}
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        num_layers: int = 1,
        num_shared_experts: int = 1,
        num_specific_experts: int = 1,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        gate_input: GateInput = "task_plus_shared",
        isolate_shared_gate: bool = True,
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        width = self.embed(self.num_tasks + 1)
        self.experts = ExpertStack(
            num_layers,
            self.num_tasks,
            width,
            expert_hidden_units,
            num_specific_experts=num_specific_experts,
            num_shared_experts=num_shared_experts,
            gate_hidden_units=gate_hidden_units,
            gate_input=gate_input,
            make_rules=partial(
                aftb_rules,
                isolate_shared_gate=isolate_shared_gate,
                auxiliary=self.auxiliary_tasks(),
            ),
            **self.mlp,
        )
        self.finish(expert_hidden_units[-1])

    def auxiliary_tasks(self) -> list[int]:
        """Return the numbers of the tasks that help the others and are not helped: none."""
        return []

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        return self.predictions(self.experts(self.embedded(inputs)))
