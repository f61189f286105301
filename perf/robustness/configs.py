"""Experiment and dataset configs that start valid and are changed."""

from __future__ import annotations

from collections.abc import Iterator

from perf.records import Record
from perf.robustness import fuzz
from perf.robustness.work import Work


def measure(work: Work) -> Iterator[Record]:
    """Try many; see `fuzz.measure`."""
    yield from fuzz.measure(work, "configs")
