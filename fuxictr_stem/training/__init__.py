"""Training of any FuxiCTR `MultiTaskModel`."""

from fuxictr_stem.runtime.allocator import keep_freed_memory
from fuxictr_stem.training.footprint import plan_memory
from fuxictr_stem.training.saving import Saving
from fuxictr_stem.training.trainer import Trainer, TrainingHistory

__all__ = [
    "Saving",
    "Trainer",
    "TrainingHistory",
    "keep_freed_memory",
    "plan_memory",
]
