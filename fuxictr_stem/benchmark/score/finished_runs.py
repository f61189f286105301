"""What a benchmark knows of its finished runs: the input of every table and picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.benchmark.run.benchmark_config import SINGLE_TASK
from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.training.predictions_file import GROUP
from fuxictr_stem.tuning.run_spec import Outcomes
from fuxictr_stem.tuning.trials import Trials
from fuxictr_stem.tuning.verify_run import PREDICTIONS


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
    """One finished run."""

    expid: str
    seed: int
    settings: dict[str, Any]  # what the search and the benchmark set, by key
    labels: list[str]
    result: dict[str, Any]  # the content of its ``result.json``
    folder: Path  # where its ``result.json``, weights and predictions are


@dataclass(frozen=True)
class TrainedModel:
    """One model at one seed: one run, or for the single-task model one run per label."""

    runs: list[Run]

    @property
    def labels(self) -> list[str]:
        """All tasks that the runs train."""
        return [label for run in self.runs for label in run.labels]

    def run_of(self, label: str) -> Run:
        """Return the run that trained a label."""
        return next(run for run in self.runs if label in run.labels)

    def metric(self, label: str, metric: str, split: str = "test") -> float:
        """Return a metric of one task on a split; NaN where no run has it."""
        if label not in self.labels:
            return float("nan")
        return self.run_of(label).result[split].get(f"{label}_{metric}", float("nan"))

    def predictions(self, label: str) -> TaskPredictions:
        """Read the test predictions of a task."""
        path = self.run_of(label).folder / PREDICTIONS
        needed = {label, f"{label}_pred", GROUP} & pl.read_parquet_schema(path).keys()
        frame = pl.read_parquet(path, columns=list(needed)).with_row_index("row")
        columns = frame.filter(pl.col(label).is_not_nan()).to_dict()
        group = columns[GROUP].to_numpy() if GROUP in columns else None
        true, pred, row = (columns[name].to_numpy() for name in (label, f"{label}_pred", "row"))
        return TaskPredictions(true, pred, group, row)


@dataclass(frozen=True)
class FinishedBenchmark:
    """All that a benchmark's report is made of."""

    name: str
    dataset_id: str
    labels: list[str]  # the tasks that are compared
    # The first metric decides which baseline is best; differences on a task are tested in the
    # first that the task has.
    metrics: list[str]
    seeds: list[int]  # the seeds of the final runs
    models: dict[str, dict[int, TrainedModel]]  # by model and seed, complete ones only
    single_task: str | None = None  # name of the single-task row, or None
    proposed: list[str] = field(default_factory=list)  # names of the rows that are no baselines
    searches: dict[str, Trials] = field(default_factory=dict)  # by experiment
    failures: dict[str, str] = field(default_factory=dict)  # the reason, by name of the run
    facts: dict[str, Any] = field(default_factory=dict)  # versions, machine, command and the like

    @cached_property
    def names(self) -> list[str]:
        """The models, the single-task one first, the proposed ones last."""
        return sorted(
            self.models, key=lambda name: (name != self.single_task) + (name in self.proposed)
        )

    def trained(self, label: str) -> Iterator[tuple[str, int, TrainedModel]]:
        """Yield the models that have a task, each with its name and seed."""
        for name, by_seed in self.models.items():
            for seed, trained in by_seed.items():
                if label in trained.labels:
                    yield name, seed, trained

    def values(self, name: str, label: str, metric: str, split: str = "test") -> dict[int, float]:
        """Return a model's metric of one task on a split, by seed."""
        return {seed: e.metric(label, metric, split) for seed, e in self.models[name].items()}


def collect_runs(plan: Plan, outcomes: Outcomes, facts: Mapping[str, Any]) -> FinishedBenchmark:
    """Return what is finished of a plan's runs; a model and seed of which a run failed is left out."""
    benchmark = plan.benchmark
    final = {expid: plan.final(expid, outcomes) for expid in benchmark.experiments}
    rows: dict[str, list[str]] = {}
    for expid in benchmark.experiments:
        rows.setdefault(benchmark.row(expid), []).append(expid)
    models: dict[str, dict[int, TrainedModel]] = {}
    for name, expids in rows.items():
        for place, seed in enumerate(benchmark.seeds):
            specs = [final[expid][place] for expid in expids if final[expid]]
            runs = [
                Run(
                    expid=spec.expid,
                    seed=seed,
                    settings={**benchmark.settings[spec.expid], **spec.trial},
                    labels=benchmark.experiments[spec.expid]["task_labels"],
                    result=outcomes.done[spec.key],
                    folder=spec.results,
                )
                for spec in specs
                if spec.key in outcomes.done
            ]
            if len(runs) == len(expids):
                models.setdefault(name, {})[seed] = TrainedModel(runs)
    planned = [
        spec for expid in final for spec in [*plan.searches[expid].chosen, *final[expid][1:]]
    ]
    failed = [spec for spec in planned if spec.key in outcomes.failed]
    return FinishedBenchmark(
        name=benchmark.name,
        dataset_id=benchmark.dataset_id,
        labels=benchmark.labels,
        metrics=benchmark.metrics,
        seeds=benchmark.seeds,
        models=models,
        single_task=SINGLE_TASK if SINGLE_TASK in models else None,
        proposed=[benchmark.row(expid) for expid in benchmark.proposed],
        searches={expid: search.trials(outcomes) for expid, search in plan.searches.items()},
        failures={str(spec): outcomes.failed[spec.key] for spec in failed},
        facts=dict(facts),
    )
