"""Where and how the runs of a benchmark are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.run.benchmark_config import SAVED
from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.tuning.execute import Outcomes, Runs
from fuxictr_stem.tuning.run_spec import RunSpec
from fuxictr_stem.tuning.verify_run import read_verified_run


class Workspace(Runs):
    """The runs of a plan, below ``runs/`` of the benchmark's folder.

    ``test_rows`` holds per experiment id the rows of its test split.
    """

    def __init__(
        self, plan: Plan, config_dir: Path, folder: Path, test_rows: Mapping[str, int]
    ) -> None:
        super().__init__(config_dir, folder / "runs.csv", plan.benchmark.threads)
        self.plan, self._folder, self._test_rows = plan, folder, test_rows

    def wanted(self, outcomes: Outcomes) -> Iterator[RunSpec]:
        """Yield the plan's runs that have not ended."""
        return self.plan.wanted(outcomes.done, outcomes.failed)

    def total(self) -> int:
        """Return the number of the plan's runs."""
        return self.plan.total()

    def folder(self, spec: RunSpec) -> Path:
        """Return the folder of a run, named by its key."""
        return self._folder / "runs" / spec.key

    def results(self, spec: RunSpec) -> Path:
        """Return the folder with a run's result, weights and predictions."""
        return self.folder(spec) / self.plan.benchmark.dataset_id / spec.expid

    def settings(self, spec: RunSpec) -> dict[str, Any]:
        """Return what replaces the config's settings in a run."""
        places = {
            "model_root": str(self.folder(spec).resolve()),
            "tracker_group": self._folder.resolve().name,
        }
        return {**spec.overrides, **places, **SAVED}

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished run; raise a DataError that says why there is none."""
        params, rows = self.plan.benchmark.experiments[spec.expid], self._test_rows[spec.expid]
        return read_verified_run(self.results(spec), params, spec.seed, rows)

    def ended(self, spec: RunSpec, outcomes: Outcomes, is_old: bool) -> None:
        """Have the search learn from a run."""
        self.plan.tell(spec, outcomes.done.get(spec.key))
