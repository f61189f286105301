"""gAUC: ours against FuxiCTR's ``evaluate_metrics``, and ours alone on many rows."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np
from fuxictr.metrics import evaluate_metrics

from fuxictr_stem.metrics import gauc
from perf.common import (
    BenchmarkError,
    Side,
    alternate,
    peak_memory,
    ratio,
    reset_peak_memory,
    timed,
)
from perf.records import Record
from perf.sizes import Sizes

_GIB = 2**30


class GroupedScores:
    """Labels, scores and groups, and the time of gAUC on them."""

    def __init__(self, rows: int, groups: int) -> None:
        rng = np.random.default_rng(0)
        self.group_id = rng.integers(0, groups, rows, dtype=np.int32)
        self.y_true = (rng.random(rows) < 0.3).astype(np.float32)
        self.y_pred = (rng.random(rows) + 0.1 * self.y_true).astype(np.float32)

    def ours(self) -> tuple[float, float]:
        """Return the seconds and the value of our gAUC."""
        return timed(lambda: gauc(self.y_true, self.y_pred, self.group_id))

    def fuxictrs(self) -> tuple[float, float]:
        """Return the seconds and the value of FuxiCTR's gAUC."""
        seconds, metrics = timed(
            lambda: evaluate_metrics(self.y_true, self.y_pred, ["gAUC"], self.group_id)
        )
        return seconds, float(metrics["gAUC"])

    def ours_with_memory(self) -> tuple[float, float]:
        """Return the seconds of our gAUC, and its peak memory over the arrays, in GiB."""
        before = reset_peak_memory()
        seconds, _ = self.ours()
        return seconds, (peak_memory() - before) / _GIB


def _at(rows: int, groups: int) -> str:
    return f"{rows:,} rows in {groups:,} users"


def compare(sizes: Sizes) -> Iterator[Record]:
    """Measure gAUC on both sides."""
    seconds: dict[str, list[float]] = {"ours": [], "fuxictrs": []}
    values: dict[str, float] = {}
    with (
        Side(GroupedScores, *sizes.group_rows) as ours,
        Side(GroupedScores, *sizes.group_rows) as theirs,
    ):
        ours.wait()
        theirs.wait()
        for _ in range(sizes.repetitions):
            for name, side in (("fuxictrs", theirs), ("ours", ours)):
                spent, values[name] = side.call(name)
                seconds[name].append(spent)
    if abs(values["ours"] - values["fuxictrs"]) > 1e-9:
        raise BenchmarkError(f"the two sides found different values: {values}")
    at = _at(*sizes.group_rows)
    value = ratio(seconds["fuxictrs"], seconds["ours"])
    yield Record(f"gAUC over FuxiCTR's, {at}", value, "x", ">= 100")
    yield Record(f"FuxiCTR's gAUC, {at}", median(seconds["fuxictrs"]), "s")
    yield Record(f"gAUC, {at}", median(seconds["ours"]), "s")


def large(sizes: Sizes) -> Iterator[Record]:
    """Measure our gAUC on many rows: time, and memory over the arrays."""
    at = _at(*sizes.large_group_rows)
    with Side(GroupedScores, *sizes.large_group_rows) as side:
        results = alternate({"ours": side}, sizes.repetitions, "ours_with_memory")["ours"]
    yield Record(f"gAUC, {at}", median(seconds for seconds, _ in results), "s", "<= 10")
    peak = max(peak for _, peak in results)
    yield Record(f"peak memory of gAUC over its arrays, {at}", peak, "GiB", "<= 2")
