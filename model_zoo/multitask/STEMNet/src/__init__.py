"""The entry's model, from the installed package."""

from fuxictr_stem.models import STEMNet

__all__ = ["STEMNet"]
