"""STEM-Net, its AFTB gate and multi-task baselines for FuxiCTR."""

from __future__ import annotations

from fuxictr_stem.registry import get_model, list_models
from fuxictr_stem.runtime.lazy_imports import postpone_slow_imports

__version__ = "0.1.0"
__all__ = ["get_model", "list_models"]

# Before any module imports FuxiCTR's models.
postpone_slow_imports()
