"""Which experts a run's gates listen to, as frames."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.gate_weights import gate_weights, gate_weights_by_row
from fuxictr_stem.training.evaluation import Batches


def mean_gate_weights(model: MultiTaskModel, batches: Batches) -> pl.DataFrame:
    """Return the mean gate weights over rows, the columns of `Run.gate_weights`; no row is a DataError."""
    names, numbers = ("place", "task", "expert"), ("mean", "std")
    schema = dict.fromkeys(names, pl.String) | dict.fromkeys(numbers, pl.Float64)
    rows = [
        (at.place, gate, expert, at.mean[q, e], at.std[q, e])
        for at in gate_weights(model, batches)
        for q, gate in enumerate(at.gates)
        for e, expert in enumerate(at.experts)
        if at.reads[q, e]
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")


def row_gate_weights(model: MultiTaskModel, batches: Batches) -> pl.DataFrame:
    """Return the gate weights of every row: a column ``place/task/expert`` for each that is read."""

    def columns() -> Iterator[pl.Series]:
        for at, weights in gate_weights_by_row(model, batches):
            reads = at.reads()
            for q, gate in enumerate(at.gates):
                for e, expert in enumerate(at.experts):
                    if reads[q, e]:
                        yield pl.Series(f"{at.name}/{gate}/{expert}", weights[:, q, e])

    return pl.DataFrame(list(columns()))
