"""Tables of comparable samples and of the embedding tables' ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fuxictr_stem.analysis.table_similarity import TableComparison
from fuxictr_stem.benchmark.report.formatting import LACKING, number, signed, span
from fuxictr_stem.benchmark.report.table import Cell, Table
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.slice_scores import Slices, interval_of


def slice_tables(slices: Slices, leaderboard: Leaderboard) -> list[Table]:
    """Return the slices' sizes, each model's AUC and gAUC on them, and the lifts, task by task."""
    names = [name for name in leaderboard.scores if name in slices.metrics]
    labels = list(dict.fromkeys(label for name in names for label in slices.metrics[name]))
    tables = []
    for label in labels:
        tables.append(_sizes(slices, label, names))
        own = [name for name in names if label in slices.metrics[name]]
        for metric in ("AUC", "gAUC"):
            rows = []
            for name in own:
                seeds = [getattr(m, metric.lower()) for m in slices.metrics[name][label]]
                values = np.mean(seeds, axis=0)
                rows.append([Cell(name), *(Cell(_or_lacking(value)) for value in values)])
            note = "Mean over seeds, on test."
            tables.append(
                Table(f"{label}, {metric} by slice", note, ["model", *slices.names], rows)
            )
        tables += _lifts(slices, label, leaderboard)
    return tables


def _sizes(slices: Slices, label: str, names: list[str]) -> Table:
    first = next(slices.metrics[name][label][0] for name in names if label in slices.metrics[name])
    rows = [
        [Cell(name), *(Cell(f"{int(count):,}") for count in counts)]
        for name, *counts in zip(
            slices.names, first.rows, first.groups, first.positives, strict=True
        )
    ]
    header = ["slice", "test samples", "users", "positives"]
    return Table(f"{label}: the slices", slices.definition, header, rows)


def _lifts(slices: Slices, label: str, leaderboard: Leaderboard) -> list[Table]:
    by_metric: dict[str, list[list[Cell]]] = {}
    for name in leaderboard.scores:
        for lift in slices.lifts.get(name, {}).get(label, []):
            cells = [
                Cell(LACKING if np.isnan(value) else f"{signed(value)} {span(low, high)}")
                for value, low, high in zip(lift.lift, lift.low, lift.high, strict=True)
            ]
            by_metric.setdefault(lift.metric, []).append([Cell(name), *cells])
    lifts = [own for by_label in slices.lifts.values() for own in by_label.get(label, [])]
    over = f", {interval_of(lifts[0])}" if lifts else ""
    note = f"Mean over seeds of the difference to {slices.reference}{over}; not corrected for their number."
    header = ["model", *slices.names]
    return [
        Table(f"{label}, {metric}: lift by slice", note, header, rows)
        for metric, rows in by_metric.items()
    ]


def audit_table(findings: Mapping[str, list[str]]) -> Table:
    """Return what the audit of each model's gradient flow finds against its definition."""
    rows = [[Cell(model), Cell(" ".join(own) or "as defined")] for model, own in findings.items()]
    note = "Each task's loss must reach what the model's definition says, and nothing else."
    return Table("Audit", note, ["model", "found"], rows, ("found",))


def rank_table(tables: Mapping[str, list[TableComparison]]) -> Table:
    """Return the effective rank of each model's tables, all fields together."""
    first = {model: own[0] for model, own in tables.items() if own}
    names = list(dict.fromkeys(name for own in first.values() for name in own.tables))
    rows = []
    for model, own in first.items():
        ranks = dict(zip(own.tables, own.effective_rank, strict=True))
        found = [Cell(_or_lacking(ranks.get(name, np.nan), 2)) for name in names]
        rows.append([Cell(model), Cell(f"{own.ids:,}"), *found])
    note = (
        "exp of the entropy of the singular values' shares (Roy and Vetterli, 2007): from 1 to the "
        "width of the table. A model with one table has the shared one only."
    )
    return Table("Effective rank", note, ["model", "ids", *names], rows)


def _or_lacking(value: float, digits: int = 4) -> str:
    return LACKING if np.isnan(value) else number(float(value), digits)
