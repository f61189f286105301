"""Runs as independent processes, several at a time; what is finished is not made again.

Each run has a process of its own rather than a pool's worker: its peak memory is then its own, and a run
that the system kills takes no other with it, where a broken `ProcessPoolExecutor` loses all under way.
"""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark
from fuxictr_stem.benchmark.run.plan import Plan, RunSpec
from fuxictr_stem.benchmark.run.verify_run import read_verified_run
from fuxictr_stem.benchmark.run.worker import work
from fuxictr_stem.errors import AccessError, DataError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.memory import Share, available_bytes
from fuxictr_stem.runtime.progress import Progress

logger = logging.getLogger(__name__)


@dataclass
class Outcomes:
    """What became of the runs, by key."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)  # the content of ``result.json``
    failed: dict[str, str] = field(default_factory=dict)  # the reason


@dataclass(frozen=True)
class Workspace:
    """Where and how runs are made."""

    config_dir: Path  # folder of the model and dataset configs
    folder: Path
    benchmark: Benchmark
    test_rows: Mapping[str, int]  # per experiment id the rows of its test split
    gpu: int  # number of the CUDA device, or -1

    def run_folder(self, key: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / key

    def results(self, spec: RunSpec) -> Path:
        """Return the folder with a run's result, weights and predictions."""
        return self.run_folder(spec.key) / self.benchmark.dataset_id / spec.expid

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished run; raise a DataError that says why there is none."""
        params = self.benchmark.experiments[spec.expid]
        return read_verified_run(self.results(spec), params, spec.seed, self.test_rows[spec.expid])


def execute(plan: Plan, workspace: Workspace, jobs: int) -> Outcomes:
    """Make every run of a plan that is not finished, at most ``jobs`` at a time.

    A run that fails stops no other. What became of the runs of earlier starts is returned, too.
    """
    outcomes = Outcomes()
    running: dict[str, tuple[RunSpec, BaseProcess, float]] = {}
    # Forked from a process that has only imported the package: imports take longer than small runs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuxictr_stem.experiment"])
    share = Share(available_bytes() // jobs, jobs)
    with Progress("Runs", plan.total(), "runs") as progress:
        try:
            wanted = _pick_up(plan, workspace, outcomes, running)
            progress.skip(len(outcomes.done))
            while wanted or running:
                for spec in wanted[: jobs - len(running)]:
                    process = context.Process(target=work, args=_job(spec, workspace, share))
                    process.start()
                    logger.info("Started: %s", spec)
                    running[spec.key] = spec, process, time.monotonic()
                wait([process.sentinel for _, process, _ in running.values()])
                for key, (spec, ended, start) in list(running.items()):
                    if ended.exitcode is not None:
                        del running[key]
                        seconds = time.monotonic() - start
                        _settle(spec, ended.exitcode, seconds, workspace, outcomes)
                # The next runs depend on which are done; those of earlier starts are taken up as they come.
                wanted = _pick_up(plan, workspace, outcomes, running)
                progress.update(len(outcomes.done) + len(outcomes.failed) - progress.done)
        finally:
            for _, unfinished, _ in running.values():
                unfinished.kill()
                unfinished.join()
    return outcomes


def _pick_up(
    plan: Plan, workspace: Workspace, outcomes: Outcomes, running: Iterable[str]
) -> list[RunSpec]:
    """Note wanted runs that an earlier start has finished; return the others, not yet running."""
    while True:
        possible = plan.wanted(outcomes.done, outcomes.failed)
        wanted = [spec for spec in possible if spec.key not in running]
        finished = {}
        for spec in wanted:
            with suppress(DataError):
                finished[spec.key] = workspace.read(spec)
        outcomes.done.update(finished)
        if not finished:
            return wanted


def _job(spec: RunSpec, workspace: Workspace, share: Share) -> tuple[dict[str, Any], Path]:
    """Return the arguments of `work`, which goes on where a killed run has saved its state."""
    folder = workspace.run_folder(spec.key)
    if (workspace.results(spec) / "result.json").exists():
        try:
            workspace.read(spec)
        except DataError as error:
            logger.warning("%s: %s The run is made again.", spec, error)
        shutil.rmtree(folder, ignore_errors=True)
    outputs.check_writable(folder, "--out")
    places = {"model_root": str(folder.resolve()), "tracker_group": workspace.folder.resolve().name}
    job = {
        "config_dir": str(workspace.config_dir.resolve()),
        "expid": spec.expid,
        "gpu": workspace.gpu,
        "overrides": {**spec.overrides, **places, **SAVED, "verbose": 0},
        "csv_path": str((workspace.folder / "runs.csv").resolve()),
        "threads": workspace.benchmark.threads,
        "share": share._asdict(),
    }
    outputs.write_json(folder / "run.json", job)
    return job, folder / "log.txt"


def _settle(
    spec: RunSpec, code: int, seconds: float, workspace: Workspace, outcomes: Outcomes
) -> None:
    """Note what became of a run whose process has ended."""
    try:
        if code:
            raise DataError(_reason(workspace.run_folder(spec.key) / "log.txt", code))
        result = workspace.read(spec)
    except (DataError, AccessError) as error:
        outcomes.failed[spec.key] = str(error)
        logger.warning("Failed: %s: %s", spec, error)
        return
    outcomes.done[spec.key] = result
    test = {name: value for name, value in result["test"].items() if name.endswith("_AUC")}
    figures = ", ".join(f"{name} {value:.4f}" for name, value in test.items())
    logger.info("Done in %.0f s: %s: test %s", seconds, spec, figures)


def _reason(log: Path, code: int) -> str:
    """Return why a run failed: its message to the user, or the last line that it wrote."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line]
    for index, line in enumerate(lines):
        if line.startswith("error: "):
            return "\n".join([line.removeprefix("error: "), *lines[index + 1 :]])
    last = lines[-1] if lines else "it wrote nothing"
    end = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{end}: {last} (the whole log: {log})"
