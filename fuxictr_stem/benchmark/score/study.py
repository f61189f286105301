"""What a benchmark knows of its finished runs: the input of every table and picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.benchmark.run.verify_run import PREDICTIONS
from fuxictr_stem.training.predictions_file import GROUP


class TaskPredictions(NamedTuple):
    """Test labels, predictions and groups of one task, (N,) each; only samples that the task has.

    ``row`` is each sample's row of the test split.
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    group_id: np.ndarray | None
    row: np.ndarray


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        expid: The experiment.
        seed: Its seed.
        settings: What the search and the benchmark set, by key.
        labels: The tasks it trained.
        result: The content of its ``result.json``.
        folder: Where its ``result.json``, weights and predictions are.
    """

    expid: str
    seed: int
    settings: dict[str, Any]
    labels: list[str]
    result: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Entry:
    """One model at one seed: a run, or for the single-task model a run a label."""

    name: str
    seed: int
    runs: list[Run]

    @property
    def labels(self) -> list[str]:
        """All tasks of the entry."""
        return [label for run in self.runs for label in run.labels]

    def run_of(self, label: str) -> Run:
        """Return the run that trained a label."""
        return next(run for run in self.runs if label in run.labels)

    def metric(self, label: str, metric: str, split: str = "test") -> float:
        """Return a metric of one task on a split; NaN where the entry lacks it."""
        for run in self.runs:
            if label in run.labels:
                return run.result[split].get(f"{label}_{metric}", float("nan"))
        return float("nan")

    def predictions(self, label: str) -> TaskPredictions:
        """Read the test predictions of a task."""
        path = self.run_of(label).folder / PREDICTIONS
        needed = {label, f"{label}_pred", GROUP} & pl.read_parquet_schema(path).keys()
        frame = pl.read_parquet(path, columns=list(needed))
        frame = frame.with_row_index("row").filter(pl.col(label).is_not_nan())
        group = frame[GROUP].to_numpy() if GROUP in frame.columns else None
        row = frame["row"].to_numpy()
        return TaskPredictions(
            frame[label].to_numpy(), frame[f"{label}_pred"].to_numpy(), group, row
        )


@dataclass(frozen=True)
class Study:
    """All that a benchmark's report is made of.

    Attributes:
        name: The benchmark's name.
        dataset_id: The dataset.
        labels: The tasks that are compared.
        metrics: The metrics that are compared; the first decides which baseline is the best, and the
            first that a task has is the one in which differences on it are tested.
        seeds: The seeds of the final runs.
        entries: By model and seed, complete ones only.
        single_task: Name of the single-task row, or None.
        proposed: Names of the rows that are no baselines.
        trials: Per model the search's record: settings and the validation metric of each trial.
        failures: Per run that failed, its name and the reason.
        facts: Versions, machine, command, date, threads and the like, for the foot of the report.
    """

    name: str
    dataset_id: str
    labels: list[str]
    metrics: list[str]
    seeds: list[int]
    entries: dict[str, dict[int, Entry]]
    single_task: str | None = None
    proposed: list[str] = field(default_factory=list)
    trials: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """The models, the single-task one first, the proposed ones last."""
        own = list(self.entries)
        first = [n for n in own if n == self.single_task]
        last = [n for n in own if n in self.proposed]
        return first + [n for n in own if n not in first + last] + last

    def values(self, name: str, label: str, metric: str, split: str = "test") -> dict[int, float]:
        """Return a model's metric of one task on a split, by seed."""
        return {seed: e.metric(label, metric, split) for seed, e in self.entries[name].items()}
