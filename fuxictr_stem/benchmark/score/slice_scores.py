"""Test metrics by slice of comparable samples, and each model's lift over the single-task model."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fuxictr_stem.analysis.slice_metrics import (
    RANKING,
    SliceLift,
    SliceMetrics,
    slice_lift,
    slice_metrics,
)
from fuxictr_stem.analysis.slices import PositiveBalance, positive_balance
from fuxictr_stem.benchmark.run.benchmark_config import Benchmark, label_types
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, TaskPredictions
from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.metrics.tasks import BINARY

logger = logging.getLogger(__name__)


class SliceRows(NamedTuple):
    """How train's groups are sorted, and the number of each test row's slice, (N,)."""

    balance: PositiveBalance
    of_test: np.ndarray


@dataclass(frozen=True)
class Slices:
    """Test metrics by slice of comparable samples."""

    names: list[str]  # names of the slices, S
    definition: str  # how the samples are sorted, a sentence or two
    reference: str  # the model that lifts are over, the single-task one
    # By model and task: what each seed reaches, and the lift in each metric.
    metrics: dict[str, dict[str, list[SliceMetrics]]] = field(default_factory=dict)
    lifts: dict[str, dict[str, list[SliceLift]]] = field(default_factory=dict)


def slice_rows(benchmark: Benchmark, cache: Cache) -> SliceRows | None:
    """Sort the rows of test into the benchmark's slices; None if it has none."""
    if benchmark.slices is None:
        return None
    options = {key: value for key, value in benchmark.slices.items() if value is not None}
    labels, group = options.pop("labels"), _group(benchmark)
    options.pop("group", None)
    by_label = {label: cache.column("train", label) for label in labels}
    groups = cache.column("train", group)
    balance = positive_balance(groups, by_label, pair=tuple(labels), **options)
    return SliceRows(balance, balance.assign(cache.column("test", group)))


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
    slices = Slices(names, _definition(benchmark, rows.balance), finished.single_task)
    types = label_types(benchmark.experiments)
    for label in finished.labels:
        by_model = {
            name: {
                seed: trained.predictions(label)
                for seed, trained in models.items()
                if label in trained.labels
            }
            for name, models in finished.models.items()
        }
        reference = by_model[finished.single_task]
        if not reference or types[label] != BINARY:
            continue
        for name, by_seed in by_model.items():
            if not by_seed:
                continue
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
                lift = partial(
                    slice_lift,
                    first.y_true,
                    [ours.y_pred for ours, _ in pairs],
                    [theirs.y_pred for _, theirs in pairs],
                    _ids(first),
                    rows.of_test[first.row],
                    resamples=benchmark.resamples,
                    num_slices=len(names),
                )
                metrics = [metric for metric in finished.metrics if metric in RANKING]
                slices.lifts.setdefault(name, {})[label] = [
                    lift(metric=metric) for metric in metrics
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


def _group(benchmark: Benchmark) -> str:
    options: dict[str, Any] = benchmark.slices or {}
    return options["group"] or next(iter(benchmark.experiments.values()))["group_id"]


def _definition(benchmark: Benchmark, balance: PositiveBalance) -> str:
    options = benchmark.slices or {}
    first, second = balance.labels
    ratio = {
        "base_rate": f"the positive rates of {first} and {second}, each relative to that of all rows",
        "counts": f"the counts of {first} and {second}",
    }[options["relative_to"]]
    low, high = balance.thresholds
    return (
        f"By {_group(benchmark)}: log2 of the ratio of {ratio}, on train, smoothed by "
        f"{options['smoothing']:g} pseudo-rows; comparable from {low:.3g} to {high:.3g}; cold with "
        f"fewer than {options['min_rows']} rows of train or no positive."
    )
