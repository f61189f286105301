"""PLE: progressive layered extraction (Tang et al., RecSys 2020), and ME-PLE, which has more tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.layers import ExpertStack, cgc_rules
from fuxictr_stem.layers.gates import SharedGateReads
from fuxictr_stem.models.base import MultiTaskNet


class PLE(MultiTaskNet):
    """Specific and shared experts under CGC gates on one table, one tower per task.

    Every stream of the first layer reads the same embedding; ``y_i = activation(tower_i(o_i))`` with
    ``o_i`` the mixture of task i's own and the shared experts. Arguments are as in `STEMNet`, and
    ``shared_gate_reads`` as in `cgc_rules`, of effect from two layers on.
    """

    table_per_stream = False  # or one for all

    def __init__(
        self,
        feature_map: FeatureMap,
        num_layers: int = 1,
        num_shared_experts: int = 1,
        num_specific_experts: int = 1,
        expert_hidden_units: Sequence[int] = (512, 256, 128),
        gate_hidden_units: Sequence[int] = (128, 64),
        shared_gate_reads: SharedGateReads = "all",
        **params: Any,
    ) -> None:
        super().__init__(feature_map, **params)
        width = self.embed(self.num_tasks + 1 if self.table_per_stream else 1)
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

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict every task: a batch of columns to ``{label}_pred``, (B, 1) each."""
        x_KBI = self.embedded(inputs)
        streams = x_KBI.expand(self.num_tasks + 1, -1, -1)
        return self.predictions(self.experts(streams))


class MEPLE(PLE):
    """`PLE` whose streams read a table each: task i's experts and gate table i, the shared ones theirs.

    As `MEMMoE`, the control for "is STEM just more parameters?"; this reading is ours.
    """

    table_per_stream = True
