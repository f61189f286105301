"""A look inside a benchmark's models, and at comparable samples, from what its runs have left."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem import outputs
from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.gates import gate_weights
from fuxictr_stem.analysis.gradient_flow import gradient_flow
from fuxictr_stem.analysis.slice_metrics import SliceLift, slice_lift, slice_metrics
from fuxictr_stem.analysis.slices import PositiveBalance, positive_balance
from fuxictr_stem.analysis.tables import compare_tables
from fuxictr_stem.benchmark.config import Benchmark
from fuxictr_stem.benchmark.insight import Analysis, Slices
from fuxictr_stem.benchmark.record import Run, Study, TaskPredictions
from fuxictr_stem.config import load_experiment
from fuxictr_stem.data import Cache, open_cache, store
from fuxictr_stem.experiment import make_loader
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.registry import build_model

logger = logging.getLogger(__name__)

# Metrics of which a slice's lift is bootstrapped.
_RANKING = ("AUC", "gAUC")


def analyse(benchmark: Benchmark, study: Study, config_dir: Path, folder: Path) -> Analysis:
    """Measure gates, gradient flow and tables of each model's first seed, and the slices of all.

    Writes ``analysis.json``.

    Args:
        benchmark: What was run.
        study: What came of it.
        config_dir: Folder of the model and dataset configs.
        folder: The benchmark's folder.
    """
    slices, slice_of_row = None, None
    if benchmark.slices is not None:
        cache = open_cache(next(iter(benchmark.experiments.values())))
        balance, slice_of_row = _slice_rows(benchmark, cache)
        slices = _slices(benchmark, study, balance, slice_of_row)
    found = Analysis(slices=slices)
    for name in study.names:
        if name != study.single_task:
            logger.info("Looking inside %s", name)
            run = study.entries[name][min(study.entries[name], key=study.seeds.index)].runs[0]
            _look_inside(name, run, config_dir, slice_of_row, found)
    outputs.write_json(folder / "analysis.json", _plain(asdict(found)))
    return found


def _look_inside(
    name: str, run: Run, config_dir: Path, slice_of_row: np.ndarray | None, found: Analysis
) -> None:
    params, model, cache = load_run(run, config_dir)
    batch = next(iter(make_loader(params, model, cache, "valid")))
    found.flows[name] = gradient_flow(model, batch)
    found.findings[name] = audit(model, batch)
    gates = gate_weights(model, make_loader(params, model, cache, "test"), slice_of_row)
    if gates:
        found.gates[name] = gates
    found.tables[name] = compare_tables(model)


def load_run(run: Run, config_dir: Path) -> tuple[dict[str, Any], MultiTaskModel, Cache]:
    """Return the parameters, the trained model and the data of a run.

    Args:
        run: The run.
        config_dir: Folder of the model and dataset configs.
    """
    overrides = {**run.settings, "seed": run.seed, "model_root": str(run.folder.parent.parent)}
    params = {
        **load_experiment(config_dir, run.expid, overrides=overrides),
        "gpu": -1,
        "verbose": 0,
    }
    cache = open_cache(params)
    model = build_model(params, cache.feature_map(params))
    model.load_weights(str(run.folder / "model.safetensors"))
    return params, model, cache


def _groups(predictions: TaskPredictions) -> np.ndarray:
    """Return the groups, which the config check has made sure of."""
    assert predictions.group_id is not None
    return predictions.group_id


def _slice_rows(benchmark: Benchmark, cache: Cache) -> tuple[PositiveBalance, np.ndarray]:
    """Return how train's groups are sorted, and the slice of each row of test."""
    chosen = dict(benchmark.slices or {})
    params = next(iter(benchmark.experiments.values()))
    labels, group = chosen.pop("labels"), chosen.pop("group") or params["group_id"]
    columns = read_columns(cache, "train", [group, *labels])
    given = {key: value for key, value in chosen.items() if value is not None}
    balance = positive_balance(
        columns[group], {label: columns[label] for label in labels}, pair=tuple(labels), **given
    )
    return balance, balance.assign(read_columns(cache, "test", [group])[group])


def read_columns(cache: Cache, split: str, names: list[str]) -> dict[str, np.ndarray]:
    """Return whole columns of a split, (N,) each, in the order of its rows."""
    path = cache.path(split)
    assert path is not None, split
    with store.open_file(path) as file:
        return {name: store.read(store.column(file, name), 0, cache.rows[split]) for name in names}


def _slices(
    benchmark: Benchmark, study: Study, balance: PositiveBalance, slice_of_row: np.ndarray
) -> Slices | None:
    """Measure every model on every slice, and its lift over the single-task model."""
    reference = study.single_task
    if reference is None:
        logger.warning("slices: without single_task there is no lift, so there are no slices.")
        return None
    found = Slices(
        names=balance.names, definition=_definition(benchmark, balance), reference=reference
    )
    count = len(balance.names)
    for label in study.labels:
        predictions = {}
        for name, entries in study.entries.items():
            by_seed = {s: e.predictions(label) for s, e in entries.items() if label in e.labels}
            if by_seed:
                predictions[name] = by_seed
        if reference not in predictions:
            continue
        for name, by_seed in predictions.items():
            logger.info("Slices of %s: %s", label, name)
            found.metrics.setdefault(name, {})[label] = [
                slice_metrics(p.y_true, p.y_pred, _groups(p), slice_of_row[p.row], count)
                for p in by_seed.values()
            ]
            shared = [seed for seed in by_seed if seed in predictions[reference]]
            if name != reference and shared:
                found.lifts.setdefault(name, {})[label] = [
                    _lift(metric, by_seed, predictions[reference], shared, slice_of_row, benchmark)
                    for metric in study.metrics
                    if metric in _RANKING and METRICS[metric].higher_is_better
                ]
    return found


def _lift(
    metric: str,
    model: dict[int, TaskPredictions],
    reference: dict[int, TaskPredictions],
    seeds: list[int],
    slice_of_row: np.ndarray,
    benchmark: Benchmark,
) -> SliceLift:
    first = model[seeds[0]]
    return slice_lift(
        first.y_true,
        [model[seed].y_pred for seed in seeds],
        [reference[seed].y_pred for seed in seeds],
        _groups(first),
        slice_of_row[first.row],
        metric,
        resamples=benchmark.resamples,
        num_slices=4,
    )


def _definition(benchmark: Benchmark, balance: PositiveBalance) -> str:
    chosen = benchmark.slices or {}
    params = next(iter(benchmark.experiments.values()))
    first, second = balance.labels
    ratio = {
        "base_rate": f"the positive rates of {first} and {second}, each relative to that of all rows",
        "counts": f"the counts of {first} and {second}",
    }[chosen["relative_to"]]
    low, high = balance.thresholds
    return (
        f"By {chosen['group'] or params['group_id']}: log2 of the ratio of {ratio}, on train, smoothed "
        f"by {chosen['smoothing']:g} pseudo-rows; comparable from {low:.3g} to {high:.3g}; cold with "
        f"fewer than {chosen['min_rows']} rows of train or no positive."
    )


def _plain(value: Any) -> Any:
    """Return arrays as lists and NaN as None, for JSON."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
