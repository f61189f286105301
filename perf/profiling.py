"""Where the time of a training step goes: its operators, ours against plain's."""

from __future__ import annotations

from collections.abc import Iterator

from torch.profiler import ProfilerActivity, profile

from perf.common import Side
from perf.records import Record, markdown_table
from perf.sides import Training
from perf.sizes import Setting, Sizes

KINDS = {"plain": "plain", "exact": "ours, exact", "row_sparse": "ours, row-sparse"}
_PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm")
_SHOWN = 14


class Profiled(Training):
    """Training steps under PyTorch's profiler."""

    def operators(self, steps: int) -> dict[str, float]:
        """Return the seconds of a step that each operator itself takes, after some that warm up."""
        self.steps(3)
        work = [self._next_batch() for _ in range(steps)]
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for batch in work:
                self.model.train_step(batch).item()
        return {
            event.key.removeprefix("aten::"): event.self_cpu_time_total / 1e6 / steps
            for event in profiler.key_averages()
        }


def measure(sizes: Sizes, sections: list[str]) -> Iterator[Record]:
    """Profile the steps at the smallest and the middle tables.

    Args:
        sizes: The sizes.
        sections: Gets a table of the operators.
    """
    for rows in sizes.table_rows[:2]:
        setting = sizes.setting(rows)
        seconds = {kind: _operators(setting, kind, sizes) for kind in KINDS}
        at = f"{rows / 1e6:g}M table rows"
        for kind, times in seconds.items():
            products = sum(times.get(name, 0.0) for name in _PRODUCTS)
            share = 100 * products / sum(times.values())
            yield Record(f"matrix products' share of the step, {KINDS[kind]}, {at}", share, "%")
        names = sorted(
            {name for times in seconds.values() for name in times},
            key=lambda name: -max(times.get(name, 0.0) for times in seconds.values()),
        )[:_SHOWN]
        table = [["operator, ms of a step", *KINDS.values()]]
        table += [
            [name, *(f"{1e3 * times.get(name, 0.0):.1f}" for times in seconds.values())]
            for name in names
        ]
        table.append(["all", *(f"{1e3 * sum(times.values()):.1f}" for times in seconds.values())])
        sections.append(f"## A step's operators, {at}\n\n{markdown_table(table)}")


def _operators(setting: Setting, kind: str, sizes: Sizes) -> dict[str, float]:
    with Side(Profiled, setting, kind, kind != "plain") as side:
        seconds: dict[str, float] = side.call("operators", sizes.steps)
    return seconds
