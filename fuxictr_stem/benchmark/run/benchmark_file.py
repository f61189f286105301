"""The keys of a benchmark file: what each must be, what it means, and what it is by default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SkipValidation

from fuxictr_stem.analysis import slices
from fuxictr_stem.config import value_types as kinds
from fuxictr_stem.config.schema import REQUIRED, Shape, defaults_of, key
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.tuning.space import GRID, SAMPLERS, SearchSpace

CUT = defaults_of(slices.positive_balance)
_rising = kinds.must(slices.is_rising)
_TwoLabels = Annotated[
    list[kinds.Text],
    kinds.must(lambda labels: len(labels) == len(set(labels)) == 2),
    kinds.named(slices.TWO_LABELS, type="array"),
]
_Thresholds = Annotated[list[kinds.Number], _rising, kinds.named(slices.THRESHOLDS, type="array")]
_Quantiles = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]], _rising, kinds.named(slices.QUANTILES, type="array")
]
_Seeds = Annotated[
    kinds.Several[kinds.Seed],
    kinds.must(lambda seeds: len(set(seeds)) == len(seeds), "Name each seed once."),
    kinds.named("a list of different seeds", type="array"),
]
_SettingsByGlob = Annotated[
    dict[str, kinds.PlainMapping],
    kinds.named("a mapping of ids or patterns to mappings", type="object"),
]


class Slices(Shape):
    """A benchmark's slices, as `analysis.slices.positive_balance` takes them."""

    labels: _TwoLabels = key("the two tasks whose positive feedback is compared", REQUIRED)
    group: kinds.Text | None = key("column of the groups; by default group_id", None)
    relative_to: Annotated[str, kinds.OneOf(slices.RELATIVE_TO)] = key(
        "compare rates relative to each task's base rate, or plain counts", CUT.relative_to
    )
    smoothing: kinds.NumberOrZero = key("pseudo-rows added to each group's counts", CUT.smoothing)
    thresholds: _Thresholds | None = key("log2 ratios between which groups are comparable", None)
    quantiles: _Quantiles | None = key("the same, as quantiles over groups", CUT.quantiles)
    min_rows: kinds.CountOrZero = key("groups with fewer training rows count as cold", CUT.min_rows)


class BenchmarkFile(Shape):
    """A benchmark's file."""

    dataset_id: kinds.Text = key("the dataset", REQUIRED)
    experiments: kinds.OneOrSeveral[kinds.Text] = key("experiments, as ids or patterns", REQUIRED)
    exclude: kinds.Text | list[kinds.Text] = key("experiments to leave out, as ids or patterns", [])
    single_task: kinds.OneOrSeveral[kinds.Text] | None = key(
        "single-task experiments, as ids or patterns; each trains one label", None
    )
    proposed: kinds.Text | list[kinds.Text] = key(
        "models under test, as ids or patterns; all others are baselines", []
    )
    labels: kinds.Several[kinds.Text] | None = key("tasks to compare; null for all", None)
    metrics: kinds.OneOrSeveral[Annotated[str, kinds.OneOf(METRICS)]] = key(
        "metrics to compare", ["AUC", "gAUC", "logloss"]
    )
    seeds: _Seeds = key("seeds of the runs", REQUIRED)
    settings: kinds.PlainMapping = key("settings for every experiment that has the key", {})
    experiment_settings: _SettingsByGlob = key(
        "settings for some experiments, which override those for all", {}
    )
    search: SearchSpace = key("values that the search tries for each key: lists or ranges", {})
    sampler: Annotated[str, kinds.OneOf(SAMPLERS)] = key(
        "how trials are chosen: all combinations, at random, or by TPE", GRID
    )
    trials: kinds.Count | None = key("trials per experiment; leave it out for a grid", None)
    threads: kinds.Count = key("CPU threads of a run", 1)
    # More takes memory and hours, and p values below 1 / 5000 say nothing more.
    resamples: Annotated[int, Field(ge=100, le=10_000)] = key("resamples of the bootstrap", 1000)
    slices: SkipValidation[Slices | None] = key("comparable samples", None)
