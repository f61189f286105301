"""Which runs a benchmark needs, given those that are done, so that it can go on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.benchmark.run.benchmark_config import Benchmark
from fuxictr_stem.tuning.run_spec import CPU, RunSpec, monitored, run_digest
from fuxictr_stem.tuning.samplers import Sampler
from fuxictr_stem.tuning.trial import DONE, FAILED, Trial

Results = Mapping[str, Mapping[str, Any]]


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
        journal: Path = Path("search.journal"),
    ) -> None:
        self.benchmark, self.data, self.versions = benchmark, dict(data), dict(versions)
        self.device, self.journal = device, journal
        self._samplers: dict[str, Sampler] = {}

    def spec(self, expid: str, seed: int, trial: Mapping[str, Any]) -> RunSpec:
        """Return the run of an experiment with a seed and a trial's settings."""
        overrides = {**self.benchmark.settings[expid], **trial, "seed": seed}
        key = f"{expid}-{seed}-{self._digest(expid, {**trial, 'seed': seed})}"
        return RunSpec(expid, seed, dict(trial), overrides, key)

    def _digest(self, expid: str, settings: Mapping[str, Any]) -> str:
        # The benchmark's settings are in the experiment's already, normalised.
        params = {**self.benchmark.experiments[expid], **settings}
        others = [self.benchmark.threads] + ([] if self.device == CPU else [self.device])
        return run_digest(params, self.data[expid], self.versions, *others)

    def sampler(self, expid: str) -> Sampler:
        """Return what chooses the trials of an experiment."""
        if expid not in self._samplers:
            params, search = self.benchmark.experiments[expid], self.benchmark.search
            own = {name: params[name] for name in search.space if name in params}
            seed = self.benchmark.seeds[0]
            name = f"{expid}-{self._digest(expid, {'seed': seed})}-{search.digest()}"
            modes = [params["monitor_mode"]]
            self._samplers[expid] = search.make_sampler(own, modes, self.journal, name)
        return self._samplers[expid]

    def trials(self, expid: str) -> list[RunSpec]:
        """Return an experiment's search as far as it is known: one run per trial, with the first seed."""
        return [self._trial(expid, number) for number in range(self.sampler(expid).known())]

    def _trial(self, expid: str, number: int) -> RunSpec:
        return self.spec(expid, self.benchmark.seeds[0], self.sampler(expid).settings(number))

    def tell(self, spec: RunSpec, result: Mapping[str, Any] | None) -> None:
        """Have the search learn from a run: its result, None if it failed."""
        for number, trial in enumerate(self.trials(spec.expid)):
            if trial.key != spec.key:
                continue
            ended = Trial(number, spec.key, spec.trial, FAILED)
            if result is not None:
                monitor = self.benchmark.experiments[spec.expid]["monitor"]
                values = [monitored(monitor, e["valid"]) for e in result["evaluations"]]
                value = monitored(monitor, result["valid"])
                ended = Trial(number, spec.key, spec.trial, DONE, value, {"monitor": value}, values)
            self.sampler(spec.expid).tell(ended)

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
        final = []
        for expid in self.benchmark.experiments:
            trials = []
            for number in range(self.sampler(expid).total):
                trials.append(self._trial(expid, number))
                if trials[-1].key not in {*done, *failed}:
                    yield trials[-1]
            if all(spec.key in {*done, *failed} for spec in trials):
                final.append(self.final(expid, done)[1:])
        by_seed = itertools.chain.from_iterable(zip(*filter(None, final), strict=True))
        yield from (spec for spec in by_seed if spec.key not in {*done, *failed})

    def total(self) -> int:
        """Return the number of all runs, if none fails."""
        searched = sum(self.sampler(expid).total for expid in self.benchmark.experiments)
        return searched + len(self.benchmark.experiments) * (len(self.benchmark.seeds) - 1)
