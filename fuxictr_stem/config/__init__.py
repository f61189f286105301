"""Experiment and dataset configs: read safely, checked as a whole, normalised."""

from __future__ import annotations

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.config.experiment_config import accepted_keys, list_experiments, load_experiment

__all__ = ["accepted_keys", "list_experiments", "load_dataset", "load_experiment"]
