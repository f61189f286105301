"""Runs as independent processes, several at a time; what is done is not done again."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fuxictr_stem.benchmark.run.benchmark_config import SAVED, Benchmark
from fuxictr_stem.benchmark.run.plan import Plan, RunSpec
from fuxictr_stem.benchmark.run.verify_run import read_whole
from fuxictr_stem.benchmark.run.worker import work
from fuxictr_stem.errors import AccessError, DataError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.memory import Share, available_bytes

logger = logging.getLogger(__name__)


@dataclass
class Runs:
    """What is known of the runs, by key.

    Attributes:
        done: The content of ``result.json``.
        failed: The reason.
    """

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Running:
    """A run that is under way."""

    spec: RunSpec
    process: BaseProcess
    start: float


@dataclass(frozen=True)
class Place:
    """Where and how runs are made.

    Attributes:
        config_dir: Folder of the model and dataset configs.
        folder: The benchmark's folder.
        benchmark: What is run.
        test_rows: Per experiment id the rows of its test split.
        gpu: Number of the CUDA device, or -1.
    """

    config_dir: Path
    folder: Path
    benchmark: Benchmark
    test_rows: Mapping[str, int]
    gpu: int

    def home(self, key: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / key

    def results(self, spec: RunSpec) -> Path:
        """Return the folder with a run's result, weights and predictions."""
        return self.home(spec.key) / self.benchmark.dataset_id / spec.expid

    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a run that is whole.

        Raises:
            DataError: It is not; the message says why.
        """
        params = self.benchmark.experiments[spec.expid]
        return read_whole(self.results(spec), params, spec.seed, self.test_rows[spec.expid])


def execute(plan: Plan, place: Place, jobs: int) -> Runs:
    """Make every run of a plan that is not done, and go on after one that fails.

    Args:
        plan: The runs.
        place: Where and how.
        jobs: The most processes at a time.

    Returns:
        All runs, those of earlier starts included.
    """
    runs = Runs()
    pool: dict[str, _Running] = {}
    clock = _Clock(plan.total())
    # Forked from a process that has only imported the package: imports take longer than small runs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuxictr_stem.experiment"])
    reader, writer = context.Pipe(duplex=False)
    share = Share(available_bytes() // jobs, jobs)
    try:
        # The next runs depend on which are done; those of earlier starts are taken up as they come.
        while True:
            wanted = _pick_up(plan, place, runs, pool)
            clock.show(runs, 0)
            for spec in wanted[: jobs - len(pool)]:
                process = context.Process(target=work, args=_job(spec, place, share, reader))
                process.start()
                logger.info("Started: %s", spec)
                pool[spec.key] = _Running(spec, process, time.monotonic())
            if not pool:
                return runs
            wait([running.process.sentinel for running in pool.values()])
            for key, running in list(pool.items()):
                if running.process.exitcode is not None:
                    del pool[key]
                    _settle(running, place, runs)
                    clock.show(runs, 1)
    finally:
        for running in pool.values():
            running.process.kill()
            running.process.join()
        reader.close()
        writer.close()
        clock.bar.close()


def _pick_up(plan: Plan, place: Place, runs: Runs, pool: Iterable[str]) -> list[RunSpec]:
    """Note wanted runs that an earlier start has finished; return the others, not yet running."""
    while True:
        wanted = [spec for spec in plan.wanted(runs.done, runs.failed) if spec.key not in pool]
        whole = {}
        for spec in wanted:
            with suppress(DataError):
                whole[spec.key] = place.read(spec)
        runs.done.update(whole)
        if not whole:
            return wanted


def _job(
    spec: RunSpec, place: Place, share: Share, parent: Connection
) -> tuple[dict[str, Any], Path, Connection]:
    """Return the arguments of `work`, which goes on where a killed run has saved its state."""
    home = place.home(spec.key)
    if (place.results(spec) / "result.json").exists():
        try:
            place.read(spec)
        except DataError as error:
            logger.warning("%s: %s The run is made again.", spec, error)
        shutil.rmtree(home, ignore_errors=True)
    outputs.check_writable(home, "--out")
    job = {
        "config_dir": str(place.config_dir.resolve()),
        "expid": spec.expid,
        "gpu": place.gpu,
        "overrides": {
            **spec.overrides,
            "model_root": str(home.resolve()),
            **SAVED,
            "verbose": 0,
        },
        "csv_path": str((place.folder / "runs.csv").resolve()),
        "threads": place.benchmark.threads,
        "share": share._asdict(),
    }
    outputs.write_json(home / "run.json", job)
    return job, home / "log.txt", parent


def _settle(running: _Running, place: Place, runs: Runs) -> None:
    spec, code = running.spec, running.process.exitcode or 0
    try:
        if code:
            raise DataError(_reason(place.home(spec.key) / "log.txt", code))
        result = place.read(spec)
    except (DataError, AccessError) as error:
        runs.failed[spec.key] = str(error)
        logger.warning("Failed: %s: %s", spec, runs.failed[spec.key])
        return
    runs.done[spec.key] = result
    seconds = time.monotonic() - running.start
    figures = ", ".join(f"{k} {v:.4f}" for k, v in result["test"].items() if k.endswith("_AUC"))
    logger.info("Done in %.0f s: %s: test %s", seconds, spec, figures)


def _reason(log: Path, code: int) -> str:
    """Return why a run failed: its message to the user, or the last line that it wrote."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line]
    for index, line in enumerate(lines):
        if line.startswith("error: "):
            return "\n".join([line.removeprefix("error: "), *lines[index + 1 :]])
    last = lines[-1] if lines else "it wrote nothing"
    what = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{what}: {last} (the whole log: {log})"


class _Clock:
    """How many runs are done and how long the others may take: a bar in a terminal, else lines."""

    def __init__(self, total: int) -> None:
        self.total, self.made, self.start = total, 0, time.monotonic()
        in_terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, desc="Runs", unit="run", leave=False, disable=not in_terminal)

    def show(self, runs: Runs, made: int) -> None:
        """Say how far the runs are, after some more were made."""
        ended = len(runs.done) + len(runs.failed)
        self.bar.n = ended
        self.bar.refresh()
        self.made += made
        if made and self.bar.disable:
            left = (time.monotonic() - self.start) / self.made * max(self.total - ended, 0)
            failed = f", {len(runs.failed)} failed" if runs.failed else ""
            time_left = timedelta(seconds=round(left))
            logger.info("%d of %d runs%s, about %s left", ended, self.total, failed, time_left)
