"""Training of any FuxiCTR `MultiTaskModel`."""

from fuxictr_stem.training.trainer import Trainer, TrainingHistory

__all__ = ["Trainer", "TrainingHistory"]
