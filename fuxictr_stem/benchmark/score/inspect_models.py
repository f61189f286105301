"""A look inside a benchmark's models, and at comparable samples, from what its runs have left."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.gates import gate_weights
from fuxictr_stem.analysis.gradient_flow import gradient_flow
from fuxictr_stem.analysis.slice_metrics import RANKING, SliceLift, slice_lift, slice_metrics
from fuxictr_stem.analysis.slices import PositiveBalance, positive_balance
from fuxictr_stem.analysis.table_similarity import compare_tables
from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark, label_types
from fuxictr_stem.benchmark.run.verify_run import WEIGHTS
from fuxictr_stem.benchmark.score.analysis_results import Analysis, Slices
from fuxictr_stem.benchmark.score.study import Run, Study, TaskPredictions
from fuxictr_stem.config import load_experiment
from fuxictr_stem.data import Cache, open_cache
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.experiment import make_loader
from fuxictr_stem.metrics.tasks import BINARY
from fuxictr_stem.models import MultiTaskNet
from fuxictr_stem.registry import build_model, get_model
from fuxictr_stem.runtime import outputs
from fuxictr_stem.training.precision import FP32

logger = logging.getLogger(__name__)


class SliceRows(NamedTuple):
    """How train's groups are sorted, and the number of each test row's slice, (N,)."""

    balance: PositiveBalance
    of_test: np.ndarray


def analyse(
    benchmark: Benchmark, study: Study, config_dir: Path, folder: Path, rows: SliceRows | None
) -> Analysis:
    """Measure gates, gradient flow and tables of each model's first seed, and the slices of all.

    Writes ``analysis.json``.

    Args:
        benchmark: What was run.
        study: What came of it.
        config_dir: Folder of the model and dataset configs.
        folder: The benchmark's folder.
        rows: The slices, as of `slice_rows`.
    """
    slices, slice_of_row, count = None, None, None
    if rows is not None:
        slice_of_row, count = rows.of_test, len(rows.balance.names)
        slices = measure_slices(benchmark, study, rows.balance, slice_of_row)
    found = Analysis(slices=slices)
    for name in study.names:
        if name != study.single_task:
            run = study.entries[name][min(study.entries[name], key=study.seeds.index)].runs[0]
            if not issubclass(get_model(run.result["model"]), MultiTaskNet):
                logger.info("%s is of another package: there is no look inside.", name)
                continue
            logger.info("Looking inside %s", name)
            _look_inside(name, run, config_dir, slice_of_row, count, found)
    outputs.write_json(folder / "analysis.json", _plain(asdict(found)))
    return found


def _look_inside(
    name: str,
    run: Run,
    config_dir: Path,
    slice_of_row: np.ndarray | None,
    count: int | None,
    found: Analysis,
) -> None:
    params, model, cache = load_run(run, config_dir)
    found.runs[name] = (run.expid, run.seed)
    batch = next(iter(make_loader(params, model, cache, "valid")))
    found.flows[name] = gradient_flow(model, batch)
    found.findings[name] = audit(model, batch)
    test = make_loader(params, model, cache, "test")
    gates = gate_weights(model, test, slice_of_row, count)
    if gates:
        found.gates[name] = gates
    found.tables[name] = compare_tables(model)


def load_run(run: Run, config_dir: Path) -> tuple[dict[str, Any], MultiTaskModel, Cache]:
    """Return the parameters, the trained model and the data of a run.

    Args:
        run: The run.
        config_dir: Folder of the model and dataset configs.
    """
    home = str(run.folder.parent.parent)
    overrides = {**run.settings, **SAVED, "seed": run.seed, "model_root": home}
    params = {
        **load_experiment(config_dir, run.expid, overrides=overrides),
        "gpu": -1,
        "precision": FP32,
        "verbose": 0,
    }
    cache = open_cache(params)
    model = build_model(params, cache.feature_map(params))
    model.load_weights(str(run.folder / WEIGHTS))
    return params, model, cache


def _groups(predictions: TaskPredictions) -> np.ndarray:
    """Return the groups, which the config check has made sure of."""
    assert predictions.group_id is not None
    return predictions.group_id


def slice_rows(benchmark: Benchmark, cache: Cache) -> SliceRows | None:
    """Sort the rows of test into the benchmark's slices; None if it has none.

    Raises:
        DataError: If train's labels cannot be compared, for example for want of a positive.
    """
    if benchmark.slices is None:
        return None
    chosen = dict(benchmark.slices)
    params = next(iter(benchmark.experiments.values()))
    labels, group = chosen.pop("labels"), chosen.pop("group") or params["group_id"]
    columns = read_columns(cache, "train", [group, *labels])
    given = {key: value for key, value in chosen.items() if value is not None}
    balance = positive_balance(
        columns[group], {label: columns[label] for label in labels}, pair=tuple(labels), **given
    )
    return SliceRows(balance, balance.assign(read_columns(cache, "test", [group])[group]))


def read_columns(cache: Cache, split: str, names: list[str]) -> dict[str, np.ndarray]:
    """Return whole columns of a split, (N,) each, in the order of its rows."""
    path = cache.path(split)
    assert path is not None, split
    with store.open_file(path) as file:
        return {name: store.read(store.column(file, name), 0, cache.rows[split]) for name in names}


def measure_slices(
    benchmark: Benchmark, study: Study, balance: PositiveBalance, slice_of_row: np.ndarray
) -> Slices | None:
    """Measure every model on every slice, and its lift over the single-task model.

    Tasks of regression have no positives, so no AUC on a slice. Models that were tested on other
    samples of a task than the single-task model have no lift there.
    """
    reference = study.single_task
    if reference is None:
        logger.warning("slices: without single_task there is no lift, so there are no slices.")
        return None
    found = Slices(
        names=balance.names, definition=_definition(benchmark, balance), reference=reference
    )
    count, types = len(balance.names), label_types(benchmark.experiments)
    for label in study.labels:
        predictions = {}
        for name, entries in study.entries.items():
            by_seed = {s: e.predictions(label) for s, e in entries.items() if label in e.labels}
            if by_seed:
                predictions[name] = by_seed
        if reference not in predictions or types[label] != BINARY:
            continue
        for name, by_seed in predictions.items():
            logger.info("Slices of %s: %s", label, name)
            found.metrics.setdefault(name, {})[label] = [
                slice_metrics(p.y_true, p.y_pred, _groups(p), slice_of_row[p.row], count)
                for p in by_seed.values()
            ]
            shared = [seed for seed in by_seed if seed in predictions[reference]]
            rows = [by[s].row for by in (by_seed, predictions[reference]) for s in shared]
            if not all(np.array_equal(own, rows[0]) for own in rows):
                logger.warning("Slices of %s: %s has other samples, so no lift.", label, name)
            elif name != reference and shared:
                found.lifts.setdefault(name, {})[label] = [
                    _lift(
                        metric,
                        by_seed,
                        predictions[reference],
                        shared,
                        slice_of_row,
                        count,
                        benchmark.resamples,
                    )
                    for metric in study.metrics
                    if metric in RANKING
                ]
    return found


def _lift(
    metric: str,
    model: dict[int, TaskPredictions],
    reference: dict[int, TaskPredictions],
    seeds: list[int],
    slice_of_row: np.ndarray,
    count: int,
    resamples: int,
) -> SliceLift:
    first = model[seeds[0]]
    return slice_lift(
        first.y_true,
        [model[seed].y_pred for seed in seeds],
        [reference[seed].y_pred for seed in seeds],
        _groups(first),
        slice_of_row[first.row],
        metric,
        resamples=resamples,
        num_slices=count,
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
