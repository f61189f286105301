"""Which runs a benchmark needs, given those that are finished."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark
from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.tuning.execute import Runs
from fuxictr_stem.tuning.run_spec import CPU, Outcomes, RunSpec, run_digest
from fuxictr_stem.tuning.samplers import SearchRuns, make_sampler
from fuxictr_stem.tuning.verify_run import read_verified_run


class Plan(Runs):
    """The runs of a benchmark, below ``runs/`` of its folder.

    Every experiment is trained once per trial with the first seed. The trial with the best validation
    monitor is then trained with the other seeds; its first run counts as that of the first seed. ``caches``
    holds the data of each experiment, ``versions`` those of what decides a run's numbers.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        caches: Mapping[str, Cache],
        versions: Mapping[str, str],
        config_dir: Path,
        folder: Path,
        device: str = CPU,
    ) -> None:
        super().__init__(config_dir, folder / "runs.csv", benchmark.threads)
        self.benchmark, self._caches, self._versions = benchmark, dict(caches), dict(versions)
        self._folder, self._device = folder, device
        self.searches = {expid: self._search(expid) for expid in benchmark.experiments}
        more = len(benchmark.seeds) - 1
        self.total = sum(search.total + more for search in self.searches.values())

    def _search(self, expid: str) -> SearchRuns:
        """Return the search of an experiment, whose runs have the first seed."""
        params, search = self.benchmark.experiments[expid], self.benchmark.search
        base_settings = {name: params[name] for name in search.space if name in params}
        seed = self.benchmark.seeds[0]
        name = f"{expid}-{self._digest(expid, {'seed': seed})}-{search.digest()}"
        journal = self._folder / "search.journal"
        sampler = make_sampler(search, base_settings, [params["monitor_mode"]], journal, name)
        return SearchRuns(expid, params, sampler, lambda _, trial: self.spec(expid, seed, trial))

    def spec(self, expid: str, seed: int, trial: Mapping[str, Any]) -> RunSpec:
        """Return the run of an experiment with a seed and a trial's settings."""
        settings = {**trial, "seed": seed}
        key = f"{expid}-{seed}-{self._digest(expid, settings)}"
        folder = self._folder / "runs" / key
        places = {
            "model_root": str(folder.resolve()),
            "tracker_group": self._folder.resolve().name,
        }
        overrides = {**self.benchmark.settings[expid], **settings, **places, **SAVED}
        results = folder / self.benchmark.dataset_id / expid
        return RunSpec(expid, seed, dict(trial), overrides, key, folder, results)

    def _digest(self, expid: str, settings: Mapping[str, Any]) -> str:
        # The benchmark's settings are in the experiment's already, normalised.
        params = {**self.benchmark.experiments[expid], **settings}
        others = [self.benchmark.threads] + ([] if self._device == CPU else [self._device])
        return run_digest(params, self._caches[expid].folder.name, self._versions, *others)

    def final(self, expid: str, outcomes: Outcomes) -> list[RunSpec]:
        """Return the best trial's run with each seed; none before a trial is done."""
        search = self.searches[expid]
        best = search.trials(outcomes).best
        if best is None:
            return []
        others = self.benchmark.seeds[1:]
        return [
            search.chosen[best.number],
            *(self.spec(expid, seed, best.settings) for seed in others),
        ]

    def wanted(self, outcomes: Outcomes) -> Iterator[RunSpec]:
        """Yield the runs that can be made now, in order: the searches first, then seed by seed."""
        final = []
        for expid, search in self.searches.items():
            yield from (spec for spec in search.specs() if spec not in outcomes)
            if all(spec in outcomes for spec in search.specs()):
                final.append(self.final(expid, outcomes)[1:])
        by_seed = itertools.chain.from_iterable(zip(*filter(None, final), strict=True))
        yield from (spec for spec in by_seed if spec not in outcomes)

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished run; raise a DataError that says why there is none."""
        params, rows = self.benchmark.experiments[spec.expid], self._caches[spec.expid].rows["test"]
        return read_verified_run(spec.results, params, spec.seed, rows)

    def ended(self, spec: RunSpec, outcomes: Outcomes, is_old: bool) -> None:
        """Have the search learn from a run."""
        self.searches[spec.expid].ended(spec, outcomes)
