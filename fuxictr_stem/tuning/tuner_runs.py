"""The trials of a tuner as runs: their ids, FuxiCTR's config files, what is finished, what is pruned."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml

from fuxictr_stem.config.decisive import as_json
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.tuning.execute import Outcomes, Runs
from fuxictr_stem.tuning.pruning import is_hopeless
from fuxictr_stem.tuning.run_spec import RunSpec, digest, monitored, run_digest
from fuxictr_stem.tuning.samplers import Sampler
from fuxictr_stem.tuning.trial import DONE, FAILED, PRUNED, Trial
from fuxictr_stem.tuning.tuner_file import Tuner, Variant
from fuxictr_stem.tuning.verify_run import read_verified_run

logger = logging.getLogger(__name__)

PRUNED_FILE = "pruned.json"
# Names of a trial, or of where it runs, that change no number.
_NAMES = ("model_id", "dataset_id", "device", "data")


class TunerRuns(Runs):
    """A tuner's trials, each under the id that FuxiCTR would give it.

    Args:
        tuner: The tuner.
        sampler: Chooses the trials.
        tag: Only trials with this text in their id are made.
        processes: How many run at a time.
        versions: Those of the software, which decide whether a finished run still counts.
    """

    def __init__(
        self,
        tuner: Tuner,
        sampler: Sampler,
        tag: str,
        processes: int,
        versions: Mapping[str, str],
    ) -> None:
        csv_path = Path(f"{tuner.folder.resolve().name}.csv")
        super().__init__(tuner.folder, csv_path, max(1, torch.get_num_threads() // processes))
        self.tuner, self.sampler, self.prunes = tuner, sampler, tuner.pruning
        self._versions, self._processes, self._tag = dict(versions), processes, tag
        self.variants: list[Variant] = []
        self._specs: list[RunSpec] = []
        self._params: dict[str, dict[str, Any]] = {}  # by id
        self._data: dict[str, str] = {}  # fingerprints by id of the dataset
        self._began, self._seconds_before = time.monotonic(), 0.0
        self._add(sampler.known())

    def _add(self, count: int) -> None:
        """Have the variants of the first so many trials, and write them if there are new ones."""
        before = len(self._specs)
        for number in range(before, count):
            settings = self.sampler.settings(number)
            variant = self.tuner.variant(settings, f"{number + 1:03d}")
            try:
                params = self._params[variant.expid] = self.tuner.load(variant)
                key = run_digest(_unnamed(params), self._fingerprint(params), self._versions)
                seed = params["seed"]
            except ConfigError:
                # Its run will say what is wrong.
                key, seed = digest(as_json(variant.experiment))[:12], 0
            self.variants.append(variant)
            self._specs.append(RunSpec(variant.expid, seed, settings, {}, key))
        if before != len(self._specs) or not before:
            self.write_configs()

    def _fingerprint(self, params: Mapping[str, Any]) -> str:
        dataset_id = params["dataset_id"]
        if dataset_id not in self._data:
            self._data[dataset_id] = fingerprint(params, find_files(params))
        return self._data[dataset_id]

    def write_configs(self, *more: Variant) -> None:
        """Write ``model_config.yaml`` and ``dataset_config.yaml`` of all trials so far, and of others."""
        variants = [*self.variants, *more]
        write_yaml(
            self.config_dir / "dataset_config.yaml", {v.dataset_id: v.dataset for v in variants}
        )
        write_yaml(self.config_dir / "model_config.yaml", {v.expid: v.experiment for v in variants})

    def numbers(self) -> Iterable[int]:
        """Return the numbers of the trials that are to be made, as far as they are known."""
        known = enumerate(self._specs)
        return [number for number, spec in known if self._tag in spec.expid]

    def wanted(self, outcomes: Outcomes) -> Iterator[RunSpec]:
        """Yield the trials that have not ended; the next is chosen when it can start."""
        for number in range(self.sampler.total):
            if number == len(self._specs):
                if not self.may_start():
                    return
                self._add(number + 1)
            spec = self._specs[number]
            if self._tag in spec.expid and spec not in outcomes:
                yield spec

    def total(self) -> int:
        """Return the number of all trials."""
        return self.sampler.total if not self._tag else len(list(self.numbers()))

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a trial's log."""
        return self.config_dir / "trials" / spec.expid

    def results(self, spec: RunSpec) -> Path:
        """Return the folder of a trial's result: the one of ``run_expid.py``."""
        params = self._params.get(spec.expid, self.tuner.params)
        variant = next(variant for variant in self.variants if variant.expid == spec.expid)
        return Path(params["model_root"]) / variant.dataset_id / spec.expid

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished or pruned trial; raise a DataError where there is none."""
        with suppress(OSError, ValueError):
            pruned = json.loads((self.folder(spec) / PRUNED_FILE).read_text(encoding="utf-8"))
            if pruned["key"] == spec.key:
                return dict(pruned)
        folder = self.results(spec)
        if spec.expid not in self._params:
            raise DataError(f"{spec.expid} has settings that cannot be run.")
        result = read_verified_run(folder, self._params[spec.expid], spec.seed, None)
        settings = result["settings"]
        if run_digest(_unnamed(settings), settings["data"], result["versions"]) != spec.key:
            raise DataError(f"{folder} is of other settings, data or versions.")
        return result

    def settings(self, spec: RunSpec) -> dict[str, Any]:
        """Return what makes a tracker show the trials together."""
        return {**spec.overrides, "tracker_group": self.tuner.folder.resolve().name}

    def may_start(self) -> bool:
        """Say whether some of the budget is left: the time of this start, and that of earlier trials."""
        budget = self.tuner.budget_minutes
        spent = time.monotonic() - self._began + self._seconds_before / self._processes
        return budget is None or spent < 60 * budget

    def goes_on(self, spec: RunSpec, evaluations: list[dict[str, Any]], outcomes: Outcomes) -> bool:
        """Say whether a trial is not worse than most after as many evaluations."""
        others = [t.evaluations for t in self.trials(outcomes) if t.name != spec.expid]
        return not is_hopeless(
            self._monitor(evaluations), others, self.tuner.params["monitor_mode"]
        )

    def prune(self, spec: RunSpec, evaluations: list[dict[str, Any]], seconds: float) -> None:
        """Remove what a trial has left but its evaluations."""
        content = {"key": spec.key, "pruned": True, "valid": evaluations[-1]["valid"]}
        content |= {"seconds": {"train": seconds}, "evaluations": evaluations}
        outputs.write_json(self.folder(spec) / PRUNED_FILE, content)
        shutil.rmtree(self.results(spec), ignore_errors=True)

    def ended(self, spec: RunSpec, outcomes: Outcomes, is_old: bool) -> None:
        """Have the sampler learn from a trial, and from others with its settings."""
        if is_old:
            self._seconds_before += sum(outcomes.done[spec.key]["seconds"].values())
        for number in self.numbers():
            if self._specs[number].key == spec.key:
                self.sampler.tell(self._trial(number, outcomes))

    def trials(self, outcomes: Outcomes) -> list[Trial]:
        """Return the trials that have ended, in order."""
        return [self._trial(n, outcomes) for n in self.numbers() if self._specs[n] in outcomes]

    def _trial(self, number: int, outcomes: Outcomes) -> Trial:
        spec = self._specs[number]
        result = outcomes.done.get(spec.key)
        if result is None:
            reason = outcomes.failed[spec.key]
            return Trial(number, spec.expid, spec.trial, FAILED, reason=reason)
        valid = result["valid"]
        modes = self.tuner.modes
        value = monitored(self.tuner.params["monitor"], valid)
        return Trial(
            number,
            spec.expid,
            spec.trial,
            PRUNED if result.get("pruned") else DONE,
            value,
            {n: valid.get(n, math.nan) for n in modes} if modes else {"monitor": value},
            self._monitor(result["evaluations"]),
        )

    def _monitor(self, evaluations: Iterable[Mapping[str, Any]]) -> list[float]:
        monitor = self.tuner.params["monitor"]
        return [monitored(monitor, evaluation["valid"]) for evaluation in evaluations]


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
    outputs.write_text(path, yaml.dump(copy.deepcopy(dict(sections)), Dumper=_Dumper, **options))
