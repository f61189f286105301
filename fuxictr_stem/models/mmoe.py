"""MMoE: one set of experts, one gate per task (Ma et al., KDD 2018); OMoE and ME-MMoE, which vary it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.errors import count_problems, raise_first
from fuxictr_stem.layers import GateBank, GroupedMLP, free_rules
from fuxictr_stem.layers.experts import MOST_PARTS
from fuxictr_stem.models.base import MultiTaskNet


class MMoE(MultiTaskNet):
    """``y_i = activation(tower_i(sum_e g_i[e] expert_e(x)))`` with ``g_i = softmax(MLP_i(x))``.

    Args:
        feature_map: FuxiCTR's description of the features.
        num_experts: Number of experts.
        expert_hidden_units: Widths of an expert's layers, each with an activation.
        gate_hidden_units: Widths of a gate's hidden layers.
        params: As in `MultiTaskNet`.
    """

    table_per_stream = False  # or one for all
    gate_per_task = True  # or one for all

    def __init__(
        self,
        feature_map: FeatureMap,
        num_experts: int = 4,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        raise_first(count_problems(MOST_PARTS, num_experts=num_experts))
        width = self.embed(self.num_tasks + 1 if self.table_per_stream else 1)
        self.experts = GroupedMLP(num_experts, width, expert_hidden_units, **self.mlp)
        rules = free_rules(self.num_tasks if self.gate_per_task else 1, num_experts)
        self.gates = GateBank(rules, width, gate_hidden_units, **self.mlp)
        self.finish(self.experts.output_dim)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_KBI = self.embedded(inputs)
        experts_EBH = self.experts(x_KBI[-1:])
        gate_inputs = x_KBI[:-1] if len(x_KBI) > 1 else x_KBI
        return self.predictions(self.gates(gate_inputs, experts_EBH))


class OMoE(MMoE):
    """`MMoE` with one gate (Jacobs et al. 1991): ``y_i = activation(tower_i(sum_e g[e] expert_e(x)))``."""

    gate_per_task = False


class MEMMoE(MMoE):
    """`MMoE` whose streams read a table each: task i's gate table i, the experts the shared one.

    The control for "is STEM just more parameters?". Named in the published configs, never published; this
    reading is ours. All gradients are free.
    """

    table_per_stream = True
