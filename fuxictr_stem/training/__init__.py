"""Training of any FuxiCTR `MultiTaskModel`."""

from fuxictr_stem.training.allocator import keep_freed_memory
from fuxictr_stem.training.trainer import Trainer, TrainingHistory

__all__ = ["Trainer", "TrainingHistory", "keep_freed_memory"]
