"""Every model, for FuxiCTR's idiom ``getattr(model_zoo, params["model"])``."""

from fuxictr_stem.models import AITM, PLE, MMoE, OMoE, SharedBottom, STEMNet

__all__ = ["AITM", "MMoE", "OMoE", "PLE", "STEMNet", "SharedBottom"]
