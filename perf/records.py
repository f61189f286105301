"""The figures of a benchmark: records, their targets, and the JSON, Markdown and terminal tables."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_stem.runtime import outputs

_RULES = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Record:
    """One figure.

    Attributes:
        what: What was measured, with its setting.
        value: The figure, or None where it could not be measured.
        unit: Its unit; ``x`` is a ratio.
        target: What it must be, such as ``>= 1.6`` or ``<= 4``; None for no target.
        reason: Why there is no value.
    """

    what: str
    value: float | None
    unit: str
    target: str | None = None
    reason: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a value."""
        if self.target is None or self.value is None:
            return None
        rule, limit = self.target.split()
        return bool(_RULES[rule](self.value, float(limit)))

    def as_json(self) -> dict[str, Any]:
        """Return ``what``, ``value``, ``unit``, ``target`` and ``met``; ``reason`` if there is one."""
        fields = {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "target": self.target,
            "met": self.met,
        }
        return fields if self.reason is None else {**fields, "reason": self.reason}

    def cells(self) -> list[str]:
        """Return the record as the cells of a table."""
        value = "not measured" if self.value is None else f"{self.value:.4g}"
        if self.value is not None and abs(self.value) >= 1000:
            value = f"{self.value:,.0f}"
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return [self.what, value, self.unit, self.target or "", met]


HEAD = ["what", "value", "unit", "target", "met"]


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; the first row is its head."""
    table = [list(row) for row in rows]
    table.insert(1, ["---"] * len(table[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def reasons(records: Iterable[Record]) -> list[str]:
    """Return a line for each record without a value: what, and why."""
    return [f"{r.what}: {r.reason.strip().splitlines()[-1]}" for r in records if r.reason]


def write_json(path: Path, records: Iterable[Record]) -> None:
    """Write the records as a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    outputs.write_text(path, json.dumps([record.as_json() for record in records], indent=2) + "\n")


def write_markdown(
    path: Path,
    records: Sequence[Record],
    facts: Mapping[str, str],
    notice: str | None,
    sections: Iterable[str],
    title: str = "Benchmarks",
) -> None:
    """Write the records as a document.

    Args:
        path: The file.
        records: The figures.
        facts: Machine, versions, date and the like.
        notice: What a reader must know first.
        sections: Further parts in Markdown.
        title: Its heading.
    """
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    if notice:
        parts.insert(1, f"**{notice}**")
    parts.append(markdown_table([HEAD, *(record.cells() for record in records)]))
    missing = reasons(records)
    if missing:
        parts.append("Not measured:\n\n" + "\n".join(f"- {line}" for line in missing))
    outputs.write_text(path, "\n\n".join([*parts, *sections]) + "\n")
