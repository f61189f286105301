"""Experiment and dataset configs that start valid and are changed."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.records import Record
from benchmarks.robustness import fuzz
from benchmarks.robustness.work import Work


def measure(work: Work) -> Iterator[Record]:
    """Try many; see `fuzz.measure`."""
    yield from fuzz.measure(work, "configs")
