"""PLE: progressive layered extraction (Tang et al., RecSys 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import ExpertStack, cgc_rules
from fuxictr_stem.models.base import MultiTaskNet


class PLE(MultiTaskNet):
    """Specific and shared experts under CGC gates on one table, one tower per task.

    Every stream of the first layer reads the same embedding; ``y_i = activation(tower_i(o_i))`` with
    ``o_i`` the mixture of task i's own and the shared experts.

    Args:
        feature_map: FuxiCTR's description of the features.
        num_layers: Number of extraction layers.
        num_shared_experts: Shared experts of each layer.
        num_specific_experts: Experts of each task in each layer.
        expert_hidden_units: Widths of an expert's layers.
        gate_hidden_units: Widths of a gate's hidden layers.
        shared_gate_reads: As in `cgc_rules`; of effect from two layers on.
        params: As in `MultiTaskNet`.
    """

    def __init__(
        self,
        feature_map: FeatureMap,
        num_layers: int = 1,
        num_shared_experts: int = 1,
        num_specific_experts: int = 1,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        shared_gate_reads: Literal["all", "shared"] = "all",
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        width = self.embed(self.num_tables())
        self.experts = ExpertStack(
            num_layers,
            self.num_tasks,
            width,
            expert_hidden_units,
            num_specific_experts=num_specific_experts,
            num_shared_experts=num_shared_experts,
            gate_hidden_units=gate_hidden_units,
            make_rules=partial(cgc_rules, shared_gate_reads=shared_gate_reads),
            **self.mlp,
        )
        self.finish(expert_hidden_units[-1])

    def num_tables(self) -> int:
        """Return how many embedding tables there are: one for all streams."""
        return 1

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_KBI = self.embedded(inputs)
        streams = x_KBI.expand(self.num_tasks + 1, -1, -1)
        return self.predictions(self.experts(streams))
