"""CSV and parquet files as nobody wants them, for one small dataset config."""

from __future__ import annotations

from collections.abc import Iterator

from perf.records import Record
from perf.robustness import fuzz, readings
from perf.robustness.work import Work


def measure(work: Work) -> Iterator[Record]:
    """Try many as whole runs, and many as caches; see `fuzz.measure` and `readings.measure`."""
    yield from fuzz.measure(work, "inputs")
    yield from readings.measure(work)
