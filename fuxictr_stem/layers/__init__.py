"""Tensors only: embeddings, experts, gates, gated expert layers. No config, no data.

`embeddings` gives one input per table (`row_gradients`: its gradient by touched rows); `grouped` runs many
MLPs of one shape at once (`blocked`: on the CPU); `gates` says what each gate reads and trains; `experts`
stacks experts and gates. `row_shards` says which rows of a table a process keeps; `device`, where a tensor
is.
"""

from fuxictr_stem.layers.embeddings import FieldTables, NumericTables, PretrainedTables
from fuxictr_stem.layers.experts import ExpertLayer, ExpertStack
from fuxictr_stem.layers.gates import (
    GateBank,
    GateRules,
    aftb_rules,
    cgc_rules,
    expert_owner,
    free_rules,
    mix_experts,
)
from fuxictr_stem.layers.grouped import GroupedLinear, GroupedMLP

__all__ = [
    "ExpertLayer",
    "ExpertStack",
    "FieldTables",
    "GateBank",
    "GateRules",
    "GroupedLinear",
    "GroupedMLP",
    "NumericTables",
    "PretrainedTables",
    "aftb_rules",
    "cgc_rules",
    "expert_owner",
    "free_rules",
    "mix_experts",
]
