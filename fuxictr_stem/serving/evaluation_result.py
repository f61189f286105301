"""What an evaluation gives: metrics, those of the rows with each value of a column, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fuxictr_stem.metrics import METRICS
from fuxictr_stem.runtime.outputs import write_json
from fuxictr_stem.runtime.text_table import text_table

LEVEL = 0.95
"""Coverage of the intervals."""


class Figure(NamedTuple):
    """A metric of some rows."""

    value: float  # the value; NaN where it is undefined
    low: float = math.nan  # lower end of its interval; NaN where there is none
    high: float = math.nan  # its upper end
    undefined: str = ""  # why it has no value


@dataclass(frozen=True)
class Slice:
    """The rows with one value of a column."""

    value: Any  # the value, None where it is missing
    rows: int  # how many there are
    figures: dict[str, Figure]  # each task's metrics, by ``{label}_{metric}``


class Evaluation(dict[str, float]):
    """Metrics by name, as in ``result.json``: ``{label}_{metric}`` and the means over the tasks.

    One that is undefined, such as AUC of a label with one class, is NaN, and so is its mean.

    Attributes:
        rows: Rows that were read.
        samples: By label, the rows that are samples of its task.
        resampled: What the intervals are over: ``groups`` or ``rows``.
        undefined: By name, why a metric has no value.
        by: The column of the slices, or None.
        slices: Metrics of the rows with each of its values, most rows first.
        others: How many more values there are, and the rows that have them.
    """

    def __init__(self, rows: int, samples: Mapping[str, int], resampled: str) -> None:
        super().__init__()
        self.rows = rows
        self.samples = dict(samples)
        self.resampled = resampled
        self.undefined: dict[str, str] = {}
        self.by: str | None = None
        self.slices: list[Slice] = []
        self.others = (0, 0)

    def __str__(self) -> str:
        """Return the metrics as a table, the slices below."""
        return _table(self) + ("" if self.by is None else f"\n\n{_slice_table(self)}")

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON, in which an undefined number is null."""
        content: dict[str, Any] = {
            "rows": self.rows,
            "samples": self.samples,
            "metrics": dict(self),
            "undefined": self.undefined,
        }
        if self.by is not None:
            content["by"] = {
                "column": self.by,
                "interval": f"{LEVEL:.0%}, {self.resampled} resampled",
                "slices": [
                    {
                        "value": part.value,
                        "rows": part.rows,
                        "metrics": {name: f._asdict() for name, f in part.figures.items()},
                    }
                    for part in self.slices
                ],
                "more_values": self.others[0],
                "more_rows": self.others[1],
            }
        return dict(plain(content))

    def write(self, path: Path) -> None:
        """Write it as a JSON file, or raise `OutputError`."""
        write_json(path, self.as_json())


def _table(evaluation: Evaluation) -> str:
    names = [name for name in evaluation if name in METRICS]
    rows = [["task", "rows", *names]]
    for label, count in evaluation.samples.items():
        cells = [_cell(evaluation, f"{label}_{name}") for name in names]
        rows.append([label, f"{count:,}", *cells])
    if len(evaluation.samples) > 1:
        rows.append(["mean", "", *(_cell(evaluation, name) for name in names)])
    lines = [text_table(rows)]
    lines += [f"{name} is undefined: {why}." for name, why in evaluation.undefined.items()]
    return "\n".join(lines)


def _cell(evaluation: Evaluation, name: str) -> str:
    value = evaluation.get(name)
    if value is None:
        return "-"
    return "undefined" if math.isnan(value) else f"{value:.6f}"


def _slice_table(evaluation: Evaluation) -> str:
    names = [name for name in evaluation if name in METRICS]
    rows = [[str(evaluation.by), "rows", "task", *names]]
    for part in evaluation.slices:
        value = "(missing)" if part.value is None else str(part.value)
        for label in evaluation.samples:
            cells = [_figure(part.figures.get(f"{label}_{name}")) for name in names]
            rows.append([value, f"{part.rows:,}", label, *cells])
            value = ""
    lines = [text_table(rows)]
    values, more = evaluation.others
    if values:
        lines.append(f"and {values:,} more values in {more:,} rows")
    lines.append(f"[ ]: {LEVEL:.0%} intervals, {evaluation.resampled} resampled.")
    return "\n".join(lines)


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.undefined:
        return f"undefined ({figure.undefined})"
    interval = "" if math.isnan(figure.low) else f" [{figure.low:.4f}, {figure.high:.4f}]"
    return f"{figure.value:.4f}{interval}"


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what has no place there becomes text, NaN is missing."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
