"""The trials of a tuner as runs: their ids, FuxiCTR's config files, what is finished, what is pruned."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from fuxictr_stem.config.result_settings import as_json
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.tuning.execute import Runs
from fuxictr_stem.tuning.run_spec import Outcomes, RunSpec, digest, run_digest
from fuxictr_stem.tuning.samplers import SearchRuns, make_sampler
from fuxictr_stem.tuning.trials import is_hopeless
from fuxictr_stem.tuning.tuner_file import Tuner, Variant
from fuxictr_stem.tuning.verify_run import read_verified_run

PRUNED_FILE = "pruned.json"
# Names of a trial, or of where it runs, that change no number.
_NAMES = ("model_id", "dataset_id", "device", "data")


class TunerRuns(Runs):
    """A tuner's trials, each under the id that FuxiCTR would give it.

    ``data`` is the fingerprint of the experiment's data as it is. Only trials with the ``tag`` in their id
    are made, so many ``processes`` at a time.
    """

    def __init__(
        self, tuner: Tuner, data: str, tag: str, processes: int, versions: Mapping[str, str]
    ) -> None:
        csv_path = Path(f"{tuner.folder.resolve().name}.csv")
        super().__init__(tuner.folder, csv_path, max(1, torch.get_num_threads() // processes))
        self.tuner, self.prunes = tuner, tuner.pruning
        self._versions, self._processes, self._tag = dict(versions), processes, tag
        self.variants: list[Variant] = []
        self._params: dict[str, dict[str, Any]] = {}  # by id
        self._data: dict[str, str] = {}  # fingerprints by id of the dataset
        self._began, self._seconds_before = time.monotonic(), 0.0
        params, search = {k: v for k, v in tuner.params.items() if k not in _NAMES}, tuner.search
        name = run_digest(params, data, versions, search.digest(), tuner.modes)
        modes = list(tuner.modes.values()) or [tuner.params["monitor_mode"]]
        journal = tuner.folder / "study.journal"
        sampler = make_sampler(
            search, tuner.base_settings(), modes, journal, f"{tuner.base_expid}-{name}"
        )
        self.search = SearchRuns(tuner.base_expid, tuner.params, sampler, self._make, tuner.modes)
        chosen = [spec for spec in self.search.chosen if tag in spec.expid]
        self.total = len(chosen) if tag else self.search.total
        self.write_configs()

    def _make(self, number: int, settings: dict[str, Any]) -> RunSpec:
        variant = self.tuner.variant(settings, f"{number + 1:03d}")
        params, seed = self.tuner.params, 0
        try:
            params = self._params[variant.expid] = self.tuner.load(variant)
            key = run_digest(_unnamed(params), self._fingerprint(params), self._versions)
            seed = params["seed"]
        except ConfigError:
            # Its run will say what is wrong.
            key = digest(as_json(variant.experiment))[:12]
        self.variants.append(variant)
        group = {"tracker_group": self.tuner.folder.resolve().name}
        folder = self.config_dir / "trials" / variant.expid
        results = Path(params["model_root"]) / variant.dataset_id / variant.expid
        return RunSpec(variant.expid, seed, settings, group, key, folder, results)

    def _fingerprint(self, params: Mapping[str, Any]) -> str:
        dataset_id = params["dataset_id"]
        if dataset_id not in self._data:
            self._data[dataset_id] = fingerprint(params, find_files(params))
        return self._data[dataset_id]

    def write_configs(self, *more: Variant) -> None:
        """Write ``model_config.yaml`` and ``dataset_config.yaml`` of all trials so far, and of others."""
        self._written, variants = len(self.variants), [*self.variants, *more]
        write_yaml(
            self.config_dir / "dataset_config.yaml", {v.dataset_id: v.dataset for v in variants}
        )
        write_yaml(self.config_dir / "model_config.yaml", {v.expid: v.experiment for v in variants})

    def wanted(self, outcomes: Outcomes) -> Iterator[RunSpec]:
        """Yield the trials that have not ended; the next is chosen when it can start."""
        for spec in self.search.specs(self.may_start):
            if len(self.variants) > self._written:
                self.write_configs()
            if self._tag in spec.expid and spec not in outcomes:
                yield spec

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished or pruned trial; raise a DataError where there is none."""
        with suppress(OSError, ValueError):
            pruned = json.loads((spec.folder / PRUNED_FILE).read_text(encoding="utf-8"))
            if pruned["key"] == spec.key:
                return dict(pruned)
        if spec.expid not in self._params:
            raise DataError(f"{spec.expid} has settings that cannot be run.")
        result = read_verified_run(spec.results, self._params[spec.expid], spec.seed, None)
        settings = result["settings"]
        if run_digest(_unnamed(settings), settings["data"], result["versions"]) != spec.key:
            raise DataError(f"{spec.results} was made with other settings, data or versions.")
        return result

    def may_start(self) -> bool:
        """Say whether some of the budget is left: the time of this start, and that of earlier trials."""
        budget = self.tuner.budget_minutes
        spent = time.monotonic() - self._began + self._seconds_before / self._processes
        return budget is None or spent < 60 * budget

    def goes_on(self, spec: RunSpec, evaluations: list[dict[str, Any]], outcomes: Outcomes) -> bool:
        """Say whether a trial is not worse than most after as many evaluations."""
        trials = self.search.trials(outcomes)
        others = [trial.evaluations for trial in trials.every if trial.name != spec.expid]
        return not is_hopeless(self.search.monitored(evaluations), others, trials.mode)

    def prune(self, spec: RunSpec, evaluations: list[dict[str, Any]], seconds: float) -> None:
        """Remove what a trial has left but its evaluations."""
        content = {"key": spec.key, "pruned": True, "valid": evaluations[-1]["valid"]}
        content |= {"seconds": {"train": seconds}, "evaluations": evaluations}
        outputs.write_json(spec.folder / PRUNED_FILE, content)
        shutil.rmtree(spec.results, ignore_errors=True)

    def ended(self, spec: RunSpec, outcomes: Outcomes, is_old: bool) -> None:
        """Have the sampler learn from a trial, and from others with its settings."""
        if is_old:
            self._seconds_before += sum(outcomes.done[spec.key]["seconds"].values())
        self.search.ended(spec, outcomes)


def _unnamed(params: Mapping[str, Any]) -> dict[str, Any]:
    return as_json({key: value for key, value in params.items() if key not in _NAMES})


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice, as FuxiCTR does, which reads no better for anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is an alias."""
        return True


def write_yaml(path: Path, sections: Mapping[str, Any]) -> None:
    """Write a config file as FuxiCTR's tuner does; raise an `OutputError` if that cannot be done."""
    options: dict[str, Any] = {"default_flow_style": None, "indent": 4, "allow_unicode": True}
    outputs.write_text(path, yaml.dump(dict(sections), Dumper=_Dumper, **options))
