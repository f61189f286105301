"""Which runs a benchmark needs, given those that are done: a pure function, so that it can go on."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuxictr_stem.benchmark.run.benchmark_config import Benchmark
from fuxictr_stem.config.decisive import NO_SETTINGS, as_json, decisive

CPU = "CPU"
Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RunSpec:
    """One run to be made."""

    expid: str
    seed: int
    trial: dict[str, Any]  # what the search sets in it
    overrides: dict[str, Any]  # all settings that replace the config's, the seed included
    key: str  # name of its folder; it changes as soon as anything that decides the numbers does

    def __str__(self) -> str:
        settings = "".join(f", {name} {value}" for name, value in self.trial.items())
        return f"{self.expid}, seed {self.seed}{settings}"


class Plan:
    """The runs of a benchmark.

    Every experiment is trained once per trial with the first seed. The trial with the best validation
    monitor is then trained with the other seeds; its first run counts as that of the first seed. ``data``
    holds the fingerprint of each experiment's data, ``versions`` those of what decides a run's numbers.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        data: Mapping[str, str],
        versions: Mapping[str, str],
        device: str = CPU,
    ) -> None:
        self.benchmark, self.data, self.versions = benchmark, dict(data), dict(versions)
        self.device = device

    def spec(self, expid: str, seed: int, trial: Mapping[str, Any]) -> RunSpec:
        """Return the run of an experiment with a seed and a trial's settings."""
        overrides = {**self.benchmark.settings[expid], **trial, "seed": seed}
        # The benchmark's settings are in the experiment's already, normalised.
        params = {**self.benchmark.experiments[expid], **trial, "seed": seed}
        settings = {key: value for key, value in decisive(params).items() if key not in NO_SETTINGS}
        parts = [as_json(settings), self.data[expid], self.versions, self.benchmark.threads]
        parts += [] if self.device == CPU else [self.device]
        text = json.dumps(parts, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return RunSpec(expid, seed, dict(trial), overrides, f"{expid}-{seed}-{digest}")

    def trials(self, expid: str) -> list[RunSpec]:
        """Return an experiment's search: one run per trial, with the first seed."""
        seed = self.benchmark.seeds[0]
        return [self.spec(expid, seed, trial) for trial in self.benchmark.trials]

    def chosen(self, expid: str, done: Results) -> RunSpec | None:
        """Return the best trial among those that are done, in ``done`` by key; of equals, the first."""
        params = self.benchmark.experiments[expid]
        candidates = [spec for spec in self.trials(expid) if spec.key in done]
        if not candidates:
            return None
        values = [monitored(params["monitor"], done[spec.key]["valid"]) for spec in candidates]
        best = np.argmax(values) if params["monitor_mode"] == "max" else np.argmin(values)
        return candidates[int(best)]

    def final(self, expid: str, done: Results) -> list[RunSpec]:
        """Return the best trial's run with each seed; none before a trial is done."""
        best = self.chosen(expid, done)
        if best is None:
            return []
        return [best, *(self.spec(expid, seed, best.trial) for seed in self.benchmark.seeds[1:])]

    def wanted(self, done: Results, failed: Mapping[str, str]) -> Iterator[RunSpec]:
        """Yield the runs that can be made now, in order: the searches first, then seed by seed.

        What is done or has failed, by key, is not wanted.
        """
        ended = {*done, *failed}
        final = []
        for expid in self.benchmark.experiments:
            trials = self.trials(expid)
            yield from (spec for spec in trials if spec.key not in ended)
            if all(spec.key in ended for spec in trials):
                final.append(self.final(expid, done)[1:])
        by_seed = itertools.chain.from_iterable(zip(*filter(None, final), strict=True))
        yield from (spec for spec in by_seed if spec.key not in ended)

    def total(self) -> int:
        """Return the number of all runs, if none fails."""
        count = len(self.benchmark.trials) + len(self.benchmark.seeds) - 1
        return len(self.benchmark.experiments) * count


def monitored(monitor: str | Mapping[str, float], valid: Mapping[str, float]) -> float:
    """Return the value of an experiment's monitor in the metrics of a split."""
    weights = {monitor: 1.0} if isinstance(monitor, str) else monitor
    return sum(weight * valid[name] for name, weight in weights.items())
