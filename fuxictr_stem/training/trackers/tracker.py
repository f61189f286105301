"""What a tracker's adapter does; it knows no more of training than points of figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

ALWAYS = "train/loss"
"""The figure that every point has; it comes last in it."""


class Point(NamedTuple):
    """Figures of a moment of training; each step has one point at most, and steps rise.

    Attributes:
        step: Training steps so far.
        time: Seconds since 1970.
        figures: Finite numbers by name, such as ``valid/like_AUC``; a name may have slashes.
    """

    step: int
    time: float
    figures: dict[str, float]


@dataclass
class TrackedRun:
    """A run as its trackers show it.

    Attributes:
        name: For people.
        dataset_id: What it trains on.
        group: The runs that it belongs to, such as those of a benchmark, or None.
        folder: Its folder.
        params: Its settings, numbers and text by name.
    """

    name: str
    dataset_id: str
    group: str | None
    folder: Path
    params: dict[str, Any] = field(default_factory=dict)


class Ending(NamedTuple):
    """How a run has ended.

    Attributes:
        status: ``FINISHED``, ``FAILED``, or ``KILLED`` by a signal.
        step: The last one.
        result: The content of ``result.json``, or None.
    """

    status: str
    step: int
    result: Mapping[str, Any] | None

    def figures(self) -> dict[str, float]:
        """Return the metrics of the test split as figures."""
        return {
            f"test/{name}": value for name, value in ((self.result or {}).get("test") or {}).items()
        }


class Tracker(ABC):
    """An adapter: one thread calls `start`, then the others, each of which may raise anything.

    Attributes:
        name: What the config calls it; also that of the extra that installs it.
        tries: How often a `log` that fails is tried; before another one, `last_step` is asked again.
        settle_seconds: How long after `log` a kill of the process may still lose a point.
    """

    name: ClassVar[str]
    tries: ClassVar[int] = 1
    settle_seconds: ClassVar[float] = 0.0

    @abstractmethod
    def prepare(self) -> str:
        """Import what is needed, before any work of the run; return what the user has to do first, or "".

        Raises:
            ImportError: A package is absent.
        """

    @abstractmethod
    def start(self, run: TrackedRun, previous: str | None, next_step: int) -> str:
        """Begin a run, or go on with the one of an id, with points from a step on; return its id."""

    @abstractmethod
    def log(self, points: list[Point]) -> None:
        """Take points."""

    def last_step(self) -> int:
        """Return the step of the last point that is there, -1 for none (or none after `start`'s step)."""
        return -1

    @abstractmethod
    def end(self, ending: Ending) -> None:
        """Close the run; the second time, after a kill in between, as the first."""
