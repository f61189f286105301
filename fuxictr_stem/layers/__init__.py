"""Tensors only: embeddings, experts, gates, the STEM network. No config, no data."""

from fuxictr_stem.layers.embeddings import FieldTables, NumericTables, PretrainedTables
from fuxictr_stem.layers.gates import (
    GateBank,
    GateRules,
    aftb_rules,
    expert_owner,
    mix_experts,
)
from fuxictr_stem.layers.grouped import GroupedLinear, GroupedMLP
from fuxictr_stem.layers.stem import STEMLayer, STEMStack

__all__ = [
    "FieldTables",
    "GateBank",
    "GateRules",
    "GroupedLinear",
    "GroupedMLP",
    "NumericTables",
    "PretrainedTables",
    "STEMLayer",
    "STEMStack",
    "aftb_rules",
    "expert_owner",
    "mix_experts",
]
