"""Tables of comparable samples, of the gradients' audit and of the embedding tables' ranks."""

from __future__ import annotations

import numpy as np

from fuxictr_stem.benchmark.report.formatting import LACKING, Section, Table, number, signed, span
from fuxictr_stem.benchmark.score.model_analysis import Analysis, Slices, interval_of


def analysis_tables(analysis: Analysis, names: list[str]) -> dict[Section, list[Table]]:
    """Return the tables by part of the report, of models in order; what was not analysed is left out."""
    tables = {Section.FLOW: _audit(analysis), Section.TABLES: _ranks(analysis)}
    if analysis.slices is not None:
        tables[Section.SLICES] = _slices(analysis.slices, names)
    return {section: shown for section, shown in tables.items() if shown}


def _slices(slices: Slices, names: list[str]) -> list[Table]:
    """Return the slices' sizes, each model's AUC and gAUC on them, and the lifts, task by task."""
    names = [name for name in names if name in slices.metrics]
    tables = []
    for label in dict.fromkeys(label for name in names for label in slices.metrics[name]):
        by_model = {name: seeds for name in names if (seeds := slices.metrics[name].get(label))}
        first = next(iter(by_model.values()))[0]
        counts = zip(slices.names, first.rows, first.groups, first.positives, strict=True)
        sizes = [[name, *(f"{int(count):,}" for count in of_slice)] for name, *of_slice in counts]
        header = ["slice", "test samples", "users", "positives"]
        tables.append(Table(f"{label}: the slices", slices.definition, header, sizes))
        for metric in ("AUC", "gAUC"):
            rows = [
                [name, *map(number, np.mean([getattr(s, metric.lower()) for s in seeds], axis=0))]
                for name, seeds in by_model.items()
            ]
            title, note = f"{label}, {metric} by slice", "Mean over seeds, on test."
            tables.append(Table(title, note, ["model", *slices.names], rows))
        tables += _lifts(slices, label, names)
    return tables


def _lifts(slices: Slices, label: str, names: list[str]) -> list[Table]:
    tables: dict[str, Table] = {}
    for name in names:
        for lift in slices.lifts.get(name, {}).get(label, []):
            if lift.metric not in tables:
                note = (
                    f"Mean over seeds of the difference to {slices.reference}, {interval_of(lift)}; not "
                    "corrected for their number."
                )
                title = f"{label}, {lift.metric}: lift by slice"
                tables[lift.metric] = Table(title, note, ["model", *slices.names], [])
            texts = [
                LACKING if np.isnan(mean) else f"{signed(mean)} {span(low, high)}"
                for mean, low, high in zip(lift.lift, lift.low, lift.high, strict=True)
            ]
            tables[lift.metric].rows.append([name, *texts])
    return list(tables.values())


def _audit(analysis: Analysis) -> list[Table]:
    """Return what the audit of each model's gradient flow finds."""
    rows = [[model, " ".join(texts) or "no fault"] for model, texts in analysis.findings.items()]
    note = (
        "Each task's loss must reach that task's own and the shared parts; no part may be dead; and where "
        "gates stop gradients, no loss may reach a part of another task."
    )
    return [Table("Audit", note, ["model", "finding"], rows, ("finding",))] if rows else []


def _ranks(analysis: Analysis) -> list[Table]:
    """Return the effective rank of each model's tables, all fields together."""
    first = {model: fields[0] for model, fields in analysis.tables.items() if fields}
    names = list(dict.fromkeys(name for table in first.values() for name in table.tables))
    rows = []
    for model, table in first.items():
        ranks = dict(zip(table.tables, table.effective_rank, strict=True))
        texts = [number(ranks.get(name, np.nan), 2) for name in names]
        rows.append([model, f"{table.ids:,}", *texts])
    note = (
        "exp of the entropy of the singular values' shares (Roy and Vetterli, 2007): from 1 to the "
        "width of the table. A model with one table has the shared one only."
    )
    return [Table("Effective rank", note, ["model", "ids", *names], rows)] if rows else []
