"""The trackers there are, and those that a run has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from fuxictr_stem.errors import ConfigError, raise_all
from fuxictr_stem.training.trackers.mlflow_tracker import MLflow
from fuxictr_stem.training.trackers.tensorboard_tracker import TensorBoard
from fuxictr_stem.training.trackers.tracker import Tracker
from fuxictr_stem.training.trackers.wandb_tracker import WeightsAndBiases

_ADAPTERS: tuple[type[Tracker], ...] = (TensorBoard, MLflow, WeightsAndBiases)
TRACKERS = tuple(adapter.name for adapter in _ADAPTERS)


def make_trackers(chosen: str | Sequence[str] | None) -> list[Tracker]:
    """Return the trackers that a config's ``tracker`` names, ready to start.

    Raises:
        ConfigError: A package is absent, or a service needs something first; with all of that.
    """
    by_name = {adapter.name: adapter for adapter in _ADAPTERS}
    names = [chosen] if isinstance(chosen, str) else chosen
    trackers, problems = [], []
    for name in dict.fromkeys(names or []):
        tracker = by_name[name]()
        trackers.append(tracker)
        try:
            problem = tracker.prepare()
        except ImportError as error:
            problem = (
                f"it is not installed ({error}). Run pip install 'fuxictr_stem[{name}]', or leave "
                "it out of tracker."
            )
        if problem:
            problems.append(f"{name}: {problem}")
    raise_all(ConfigError, "tracker", problems)
    return trackers
