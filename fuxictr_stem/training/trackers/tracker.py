"""The interface of a tracker's adapter, which receives points of figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

ALWAYS = "train/loss"
"""The figure that every point has; it comes last in it."""


class Point(NamedTuple):
    """Figures of a moment of training; each step has one point at most, and steps rise."""

    step: int  # training steps so far
    time: float  # seconds since 1970
    # Finite numbers by name, such as ``valid/like_AUC``; a name may have slashes.
    figures: dict[str, float]


@dataclass
class TrackedRun:
    """A run as its trackers show it."""

    name: str  # for people
    dataset_id: str
    group: str | None  # the runs that it belongs to, such as those of a benchmark
    folder: Path
    params: dict[str, Any] = field(default_factory=dict)  # settings, numbers and text by name


class Ending(NamedTuple):
    """How a run has ended."""

    status: str  # ``FINISHED``, ``FAILED``, or ``KILLED`` by a signal
    step: int  # the last one
    result: Mapping[str, Any] | None  # the content of ``result.json``

    def figures(self) -> dict[str, float]:
        """Return the metrics of the test split as figures."""
        metrics = (self.result or {}).get("test") or {}
        return {f"test/{name}": value for name, value in metrics.items()}


class Tracker(ABC):
    """An adapter: one thread calls `start`, then the others, each of which may raise anything."""

    name: ClassVar[str]  # what the config calls it, and the extra that installs it
    # How often a `log` that fails is tried; before another one, `last_step` is asked again.
    tries: ClassVar[int] = 1
    # How long after `log` a kill of the process may still lose a point.
    settle_seconds: ClassVar[float] = 0.0

    @abstractmethod
    def prepare(self) -> str:
        """Import what is needed, before any work of the run; return what the user has to do first, or "".

        Raises:
            ImportError: A package is absent.
        """

    @abstractmethod
    def start(self, run: TrackedRun, previous: str | None, next_step: int) -> str:
        """Begin a run, or continue with the one of an id, with points from a step on; return its id."""

    @abstractmethod
    def log(self, points: list[Point]) -> None:
        """Take points."""

    def last_step(self) -> int:
        """Return the step of the last point that is there, -1 for none (or none after `start`'s step)."""
        return -1

    @abstractmethod
    def end(self, ending: Ending) -> None:
        """Close the run; the second time, after a kill in between, as the first."""
