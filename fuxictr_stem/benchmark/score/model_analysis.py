"""A look inside a benchmark's models, from what its runs have left."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.gates import GateWeights, gate_weights
from fuxictr_stem.analysis.gradient_flow import GradientFlow, gradient_flow
from fuxictr_stem.analysis.table_similarity import TableComparison, compare_tables
from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, Run
from fuxictr_stem.benchmark.score.slice_scores import SliceRows, Slices, measure_slices
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache.open_cache import Cache, open_cache
from fuxictr_stem.models import MultiTaskNet
from fuxictr_stem.registry import build_model, get_model
from fuxictr_stem.run_data import make_loader
from fuxictr_stem.runtime import outputs
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.tuning.verify_run import WEIGHTS

logger = logging.getLogger(__name__)


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
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
