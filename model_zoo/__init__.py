"""Every model, for FuxiCTR's idiom ``getattr(model_zoo, params["model"])``."""

from fuxictr_stem.models import (
    AITM,
    ESMM,
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
    "ESMM",
    "MEMMoE",
    "MEPLE",
    "MMoE",
    "OMoE",
    "PLE",
    "STEMAL",
    "STEMNet",
    "SharedBottom",
]
