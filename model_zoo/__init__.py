"""Every model, for FuxiCTR's idiom ``getattr(model_zoo, params["model"])``."""

from fuxictr_stem.models import SharedBottom, STEMNet

__all__ = ["STEMNet", "SharedBottom"]
