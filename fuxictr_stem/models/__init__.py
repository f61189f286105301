"""The models, one file each, on FuxiCTR's `MultiTaskModel`."""

from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.shared_bottom import SharedBottom
from fuxictr_stem.models.stemnet import STEMNet

__all__ = ["MultiTaskNet", "STEMNet", "SharedBottom"]
