"""Every model, for FuxiCTR's idiom ``getattr(model_zoo, params["model"])``."""

from fuxictr_stem.models import (
    AITM,
    MEPLE,
    PLE,
    STEMAL,
    MEMMoE,
    MMoE,
    OMoE,
    SharedBottom,
    STEMNet,
)

__all__ = [
    "AITM",
    "MEMMoE",
    "MEPLE",
    "MMoE",
    "OMoE",
    "PLE",
    "STEMAL",
    "STEMNet",
    "SharedBottom",
]
