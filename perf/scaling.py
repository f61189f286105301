"""Cost as work grows: seconds per million training samples, one thing growing at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.benchmark.report.figures.style import BLUE, GREY, STYLE, grid
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.runtime.memory import keep_freed_memory
from perf.common import Side, timed
from perf.data import draw, label_names, vocabulary_sizes, write_h5
from perf.records import Record
from perf.sides import Training, our_model
from perf.sizes import Setting, Sizes

_TABLE_ROWS = 200_000
_SAMPLES = 4096  # of a timed call, at least
_NOISE = 0.1  # of an exponent

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """Something that grows.

    Attributes:
        name: Its name.
        field: That of the `Setting`, or of its network.
        values: What it takes.
        exponent: Of the growth that is expected at most: 1 for work of its own, 0 for none.
        row_sparse: Whether the step is row-sparse; else it is exact.
    """

    name: str
    field: str
    values: tuple[int, ...]
    exponent: int
    row_sparse: bool = False

    def setting(self, base: Setting, value: int) -> Setting:
        """Return the base with the axis at a value."""
        if self.field == "num_shared_experts":
            return replace(base, network={**base.network, self.field: value})
        changed: dict[str, Any] = {self.field: value}
        return replace(base, **changed)


_ROWS = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
AXES = (
    Axis("tasks", "tasks", (2, 4, 8, 12, 16), 1),
    Axis("shared experts", "num_shared_experts", (2, 4, 8, 16, 32), 1),
    Axis("fields", "fields", (4, 8, 16, 32, 64), 1),
    Axis("table rows, exact", "table_rows", _ROWS, 1),
    Axis("table rows, row-sparse", "table_rows", _ROWS, 0, row_sparse=True),
    Axis("batch size", "batch_size", (256, 1024, 4096, 8192, 16384), 0),
)
EPOCH_ROWS = "rows of an epoch"


class Growing:
    """Takes the points of one axis, small to large."""

    def cost(self, setting: Setting, row_sparse: bool, calls: int) -> float:
        """Return the seconds per million samples of training steps, the median of some calls."""
        steps = max(1, _SAMPLES // setting.batch_size)
        kind = "row_sparse" if row_sparse else "exact"
        training = Training(setting, kind, keep_memory=True, same_weights=False)
        # Two more, which warm up.
        seconds = [training.steps(steps)[0] for _ in range(calls + 2)][2:]
        return median(seconds) * 1e6 / (steps * setting.batch_size)


class Epoch:
    """An epoch of a small network, our loader feeding it from memory."""

    def __init__(self, setting: Setting, rows: int, path: Path) -> None:
        keep_freed_memory()
        self.model = our_model(setting, row_sparse=False, same_weights=False)
        self.model.train()
        sizes = vocabulary_sizes(setting.table_rows, setting.fields)
        write_h5(path, draw(sizes, label_names(setting.tasks), rows, seed=0))
        self.loader = H5Loader(
            self.model.feature_map, path, batch_size=setting.batch_size, shuffle=True
        )

    def run(self) -> float:
        """Train an epoch after a warm-up; return the seconds."""
        for batch, _ in zip(self.loader, range(3), strict=False):
            self.model.train_step(batch)
        return timed(lambda: [self.model.train_step(batch).item() for batch in self.loader])[0]


def measure(sizes: Sizes, folder: Path) -> dict[str, Points]:
    """Return for each axis its values and the seconds per million samples."""
    network = {**sizes.network, "expert_hidden_units": [sizes.growth_width] * 3}
    base = sizes.setting(_TABLE_ROWS, network=network)
    points: dict[str, Points] = {}
    for axis in AXES:
        places = np.linspace(0, len(axis.values) - 1, sizes.growth_points).round().astype(int)
        with Side(Growing) as side:
            points[axis.name] = []
            for value in (axis.values[place] for place in places):
                work = (axis.setting(base, value), axis.row_sparse, sizes.growth_steps)
                points[axis.name].append((value, side.call("cost", *work)))
    # An epoch of millions of rows takes minutes with the whole network.
    small = {**network, "num_shared_experts": 1, "expert_hidden_units": [32]}
    points[EPOCH_ROWS] = [
        (rows, _epoch_cost(replace(base, network=small), rows, folder / f"epoch_{rows}.h5"))
        for rows in sizes.growth_rows
    ]
    return points


def _epoch_cost(setting: Setting, rows: int, path: Path) -> float:
    with Side(Epoch, setting, rows, path) as side:
        seconds: float = side.call("run")
    path.unlink()
    return seconds * 1e6 / rows


def exponent(points: Points) -> float:
    """Return the growth over the last step, as the exponent of a power: 1 is a straight line.

    What grows faster than a line shows there; fixed costs make it less, never more.
    """
    (x, before), (y, after) = points[-2:]
    return math.log(after / before) / math.log(y / x)


def records(points: Mapping[str, Points]) -> Iterator[Record]:
    """Yield each axis' growth, and each point."""
    expected = {axis.name: axis.exponent for axis in AXES}
    for name, curve in points.items():
        target = f"<= {expected.get(name, 0) + _NOISE:g}"
        what = f"exponent of cost against {name}, {curve[-2][0]:,} to {curve[-1][0]:,}"
        yield Record(what, exponent(curve), "", target)
    for name, curve in points.items():
        for value, cost in curve:
            yield Record(f"cost at {name} = {value:,}", cost, "s per million samples")


def picture(points: Mapping[str, Points], path: Path) -> None:
    """Draw one panel per axis, with a straight line to compare with."""
    grows = {axis.name for axis in AXES if axis.exponent}
    with rc_context(STYLE):
        figure, panels = grid(len(points), columns=2, panel_height=2.1, extra=0.5)
        for panel, (name, curve) in zip(panels, points.items(), strict=False):
            x, cost = zip(*curve, strict=True)
            millions = x[-1] >= 1_000_000
            shown: Any = np.array(x) / (1e6 if millions else 1)
            panel.plot(shown, cost, color=BLUE, marker="o", markersize=4)
            panel.set_xlabel(f"{name} (millions)" if millions else name)
            panel.set_ylabel("s per million\nsamples")
            panel.set_ylim(0, 1.15 * max(cost))
            if name in grows:
                panel.plot(
                    shown[[0, -1]], [cost[0], cost[-1]], color=GREY, linestyle="--", zorder=1
                )
                panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            else:
                panel.axhline(cost[0], color=GREY, linestyle="--", zorder=1)
                panel.set_xscale("log")
                panel.set_xticks(shown, [f"{value:g}" for value in shown])
                panel.minorticks_off()
        figure.suptitle(
            "Cost of training. Dashed: a straight line through the ends; level where nothing should "
            "grow.",
            fontsize=10,
        )
        figure.savefig(path)
