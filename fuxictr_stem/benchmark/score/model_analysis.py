"""A look inside one run of each model, and all models on comparable samples."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.gate_weights import GateWeights, gate_weights
from fuxictr_stem.analysis.gradient_flow import GradientFlow, gradient_flow
from fuxictr_stem.analysis.slice_metrics import (
    RANKING,
    SliceLift,
    SliceMetrics,
    slice_lift,
    slice_metrics,
)
from fuxictr_stem.analysis.slices import PositiveBalance, positive_balance
from fuxictr_stem.analysis.table_similarity import TableComparison, compare_tables
from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark, label_types
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, Run, TaskPredictions
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache.open_cache import Cache, open_cache
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.models import MultiTaskNet
from fuxictr_stem.registry import build_model, get_model
from fuxictr_stem.run_data import make_loader
from fuxictr_stem.runtime import outputs
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.tuning.verify_run import WEIGHTS

logger = logging.getLogger(__name__)


class SliceRows(NamedTuple):
    """How train's groups are sorted, and the rows of test with them."""

    balance: PositiveBalance
    definition: str  # how they are sorted, a sentence or two
    of_test: np.ndarray  # (N,) number of each row's slice


@dataclass(frozen=True)
class Slices:
    """Test metrics by slice of comparable samples."""

    names: list[str]  # names of the slices, S
    definition: str  # how the samples are sorted, a sentence or two
    reference: str  # the model that lifts are over, the single-task one
    # By model and task: what each seed reaches, and the lift in each metric.
    metrics: dict[str, dict[str, list[SliceMetrics]]] = field(default_factory=dict)
    lifts: dict[str, dict[str, list[SliceLift]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """A look inside the models of a benchmark, by model; models may be absent."""

    runs: dict[str, tuple[str, int]] = field(default_factory=dict)  # experiment and seed
    gates: dict[str, list[GateWeights]] = field(default_factory=dict)  # with slices as below
    flows: dict[str, GradientFlow] = field(default_factory=dict)
    findings: dict[str, list[str]] = field(default_factory=dict)  # faults in the flow
    tables: dict[str, list[TableComparison]] = field(default_factory=dict)  # all fields first
    slices: Slices | None = None  # comparable samples, or None

    def run(self, model: str) -> str:
        """Return the name of the run that a model's pictures show."""
        expid, seed = self.runs[model]
        return f"run {expid}, seed {seed}"


def analyse(
    benchmark: Benchmark,
    finished: FinishedBenchmark,
    config_dir: Path,
    folder: Path,
    rows: SliceRows | None,
) -> Analysis:
    """Measure gates, gradient flow and tables of each model's first seed, and the slices of all.

    Writes ``analysis.json`` into the benchmark's folder.
    """
    slices = None if rows is None else measure_slices(benchmark, finished, rows)
    analysis = Analysis(slices=slices)
    for name in finished.names:
        if name == finished.single_task:
            continue
        run = finished.models[name][min(finished.models[name], key=finished.seeds.index)].runs[0]
        if not issubclass(get_model(run.result["model"]), MultiTaskNet):
            logger.info("%s is of another package, so it is not analysed.", name)
            continue
        logger.info("Looking inside %s", name)
        params, model, cache = _load_run(run, config_dir)
        analysis.runs[name] = run.expid, run.seed
        batch = next(iter(make_loader(params, model, cache, "valid")))
        analysis.flows[name] = gradient_flow(model, batch)
        analysis.findings[name] = audit(model, batch)
        test = make_loader(params, model, cache, "test")
        numbers, count = (None, None) if rows is None else (rows.of_test, len(rows.balance.names))
        gates = gate_weights(model, test, numbers, count)
        if gates:
            analysis.gates[name] = gates
        analysis.tables[name] = compare_tables(model)
    outputs.write_json(folder / "analysis.json", _plain(asdict(analysis)))
    return analysis


def _load_run(run: Run, config_dir: Path) -> tuple[dict[str, Any], MultiTaskModel, Cache]:
    """Return the parameters, the trained model and the data of a run."""
    model_root = str(run.folder.parent.parent)
    overrides = {**run.settings, **SAVED, "seed": run.seed, "model_root": model_root}
    params = load_experiment(config_dir, run.expid, overrides=overrides)
    params |= {"gpu": -1, "precision": FP32, "verbose": 0}
    cache = open_cache(params)
    model = build_model(params, cache.feature_map(params))
    model.load_weights(str(run.folder / WEIGHTS))
    return params, model, cache


def _plain(value: Any) -> Any:
    """Return arrays as lists and NaN as None, for JSON."""
    text = json.dumps(value, default=lambda array: array.tolist())
    return json.loads(text, parse_constant=lambda _: None)


def slice_rows(benchmark: Benchmark, cache: Cache) -> SliceRows | None:
    """Sort the rows of test into the benchmark's slices; None if it has none."""
    if benchmark.slices is None:
        return None
    options = {key: value for key, value in benchmark.slices.items() if value is not None}
    labels = options.pop("labels")
    of_users = next(iter(benchmark.experiments.values()))["group_id"]
    group = options.pop("group", of_users)
    by_label = {label: cache.column("train", label) for label in labels}
    groups = cache.column("train", group)
    balance = positive_balance(groups, by_label, pair=tuple(labels), **options)
    definition = _definition(group, balance, options)
    return SliceRows(balance, definition, balance.assign(cache.column("test", group)))


def measure_slices(
    benchmark: Benchmark, finished: FinishedBenchmark, rows: SliceRows
) -> Slices | None:
    """Measure every model on every slice, and its lift over the single-task model.

    Tasks of regression have no positives, so no AUC on a slice. Models that were tested on other
    samples of a task than the single-task model have no lift there.
    """
    if finished.single_task is None:
        logger.warning("slices: without single_task there is no lift, so there are no slices.")
        return None
    names = rows.balance.names
    slices = Slices(names, rows.definition, finished.single_task)
    types = label_types(benchmark.experiments)
    for label in finished.labels:
        by_model: dict[str, dict[int, TaskPredictions]] = {}
        for name, seed, trained in finished.trained(label):
            by_model.setdefault(name, {})[seed] = trained.predictions(label)
        reference = by_model.get(finished.single_task)
        if reference is None or types[label] != BINARY:
            continue
        for name, by_seed in by_model.items():
            logger.info("Slices of %s: %s", label, name)
            slices.metrics.setdefault(name, {})[label] = [
                slice_metrics(p.y_true, p.y_pred, _ids(p), rows.of_test[p.row], len(names))
                for p in by_seed.values()
            ]
            pairs = [(p, reference[seed]) for seed, p in by_seed.items() if seed in reference]
            tested = [predictions.row for pair in pairs for predictions in pair]
            if not all(np.array_equal(row, tested[0]) for row in tested):
                logger.warning("Slices of %s: %s has other samples, so no lift.", label, name)
            elif name != finished.single_task and pairs:
                first = pairs[0][0]
                ours, theirs = (
                    [p.y_pred for p in of_model] for of_model in zip(*pairs, strict=True)
                )
                users, numbers = _ids(first), rows.of_test[first.row]
                options = {"resamples": benchmark.resamples, "num_slices": len(names)}
                slices.lifts.setdefault(name, {})[label] = [
                    slice_lift(first.y_true, ours, theirs, users, numbers, metric, **options)
                    for metric in finished.metrics
                    if metric in RANKING
                ]
    return slices


def interval_of(lift: SliceLift) -> str:
    """Return what a lift's interval is over, as a part of a sentence."""
    users = "the slice's test users"
    over = f"{lift.seeds} seeds and {users}" if lift.seeds > 1 else f"{users} only"
    return f"{lift.confidence:.0%} interval over {over}"


def _ids(predictions: TaskPredictions) -> np.ndarray:
    """Return the groups, which the config check has made sure of."""
    assert predictions.group_id is not None
    return predictions.group_id


def _definition(group: str, balance: PositiveBalance, options: Mapping[str, Any]) -> str:
    first, second = balance.labels
    ratio = {
        "base_rate": f"the positive rates of {first} and {second}, each relative to that of all rows",
        "counts": f"the counts of {first} and {second}",
    }[options["relative_to"]]
    low, high = balance.thresholds
    return (
        f"By {group}: log2 of the ratio of {ratio}, on train, smoothed by {options['smoothing']:g} "
        f"pseudo-rows; comparable from {low:.3g} to {high:.3g}; cold with fewer than "
        f"{options['min_rows']} rows of train or no positive."
    )
