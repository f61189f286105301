"""Runs as independent processes, several at a time; what is finished is not made again.

Each run has a process of its own rather than a pool's worker: its peak memory is then its own, and a run
that the system kills takes no other with it, where a broken `ProcessPoolExecutor` loses all under way.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fuxictr_stem.errors import AccessError, DataError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.memory import Share, available_bytes
from fuxictr_stem.runtime.progress import Progress
from fuxictr_stem.tuning.run_spec import Outcomes, RunSpec
from fuxictr_stem.tuning.worker import work

logger = logging.getLogger(__name__)

_JOB = "run.json"


class Runs(ABC):
    """The runs to be made: their configs, the file of their results lines, the CPU threads of each."""

    total: int
    """The number of all runs, if none fails."""

    prunes = False
    """Whether runs ask after each evaluation if they continue."""

    def __init__(self, config_dir: Path, csv_path: Path, threads: int) -> None:
        self.config_dir, self.csv_path, self.threads = config_dir, csv_path, threads

    @abstractmethod
    def wanted(self, outcomes: Outcomes) -> Iterator[RunSpec]:
        """Yield the runs that have not ended and can be made now, in order.

        The outcomes fill meanwhile. No more are taken than can start.
        """

    @abstractmethod
    def read(self, spec: RunSpec) -> dict[str, Any]:
        """Return the result of a finished run; raise a DataError that says why there is none."""

    def may_start(self) -> bool:
        """Say whether another run may be started now."""
        return True

    def goes_on(self, spec: RunSpec, evaluations: list[dict[str, Any]], outcomes: Outcomes) -> bool:
        """Say whether a run continues after an evaluation; the records are those of ``result.json``."""
        return True

    def prune(self, spec: RunSpec, evaluations: list[dict[str, Any]], seconds: float) -> None:
        """Leave what `read` then takes for the result of a run that did not continue."""
        raise NotImplementedError

    @abstractmethod
    def ended(self, spec: RunSpec, outcomes: Outcomes, is_old: bool) -> None:
        """Learn that a run is now among the outcomes, or has been since an earlier start."""


@dataclass
class _Running:
    spec: RunSpec
    process: BaseProcess
    slot: int
    start: float
    evaluations: Connection | None  # None where nothing asks, or the process has ended

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


def execute(runs: Runs, gpus: Sequence[int]) -> Outcomes:
    """Make every run that is not finished, as many at a time as there are devices, each on one of them.

    A device is the number of a CUDA device or -1 for the CPU; it may be there several times. A run that
    fails stops no other. What became of the runs of earlier starts is returned, too.
    """
    outcomes = Outcomes()
    running: dict[str, _Running] = {}
    # Forked from a process that has only imported the package: imports take longer than small runs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuxictr_stem.experiment"])
    with Progress("Runs", runs.total, "runs") as progress:
        try:
            wanted = _pick_up(runs, outcomes, running, len(gpus))
            progress.skip(len(outcomes.done))
            while wanted or running:
                for spec in wanted:
                    taken = {run.slot for run in running.values()}
                    slot = next(place for place in range(len(gpus)) if place not in taken)
                    running[spec.key] = _start(context, runs, spec, slot, gpus)
                _wait(runs, running, outcomes)
                # The next runs depend on which are done; those of earlier starts are taken up as they come.
                wanted = _pick_up(runs, outcomes, running, len(gpus) - len(running))
                progress.update(len(outcomes.done) + len(outcomes.failed) - progress.done)
        finally:
            for unfinished in running.values():
                unfinished.process.kill()
                unfinished.process.join()
    return outcomes


def _pick_up(runs: Runs, outcomes: Outcomes, running: Collection[str], free: int) -> list[RunSpec]:
    """Note wanted runs that an earlier start has finished; return others to start, at most ``free``."""
    while free:
        wanted: list[RunSpec] = []
        is_finished = False
        for spec in runs.wanted(outcomes):
            if spec.key in running:
                continue
            try:
                outcomes.done[spec.key] = runs.read(spec)
            except DataError:
                if runs.may_start():
                    wanted.append(spec)
                if len(wanted) == free:
                    break
            else:
                is_finished = True
                runs.ended(spec, outcomes, is_old=True)
        if not is_finished:
            return wanted
    return []


def _start(context: Any, runs: Runs, spec: RunSpec, slot: int, gpus: Sequence[int]) -> _Running:
    """Start a process, which continues where a killed run has saved its state."""
    folder = spec.folder
    before = None
    with suppress(OSError, ValueError, AttributeError):
        before = json.loads((folder / _JOB).read_text(encoding="utf-8")).get("key")
    is_other = before not in (None, spec.key)
    if (spec.results / "result.json").exists():
        try:
            runs.read(spec)
        except DataError as error:
            logger.warning("%s: %s The run is repeated.", spec, error)
        is_other = True
    if is_other:
        # A run could not continue from a state of other settings or data.
        shutil.rmtree(spec.results, ignore_errors=True)
    outputs.check_writable(folder, "--out")
    share = Share(available_bytes() // len(gpus), gpus.count(gpus[slot]))
    job = {
        "config_dir": str(runs.config_dir.resolve()),
        "expid": spec.expid,
        "gpu": gpus[slot],
        "overrides": {**spec.overrides, "verbose": 0},
        "csv_path": str(runs.csv_path.resolve()),
        "threads": runs.threads,
        "share": share._asdict(),
    }
    outputs.write_json(folder / _JOB, {**job, "key": spec.key})
    ours, theirs = context.Pipe() if runs.prunes else (None, None)
    process = context.Process(target=work, args=(job, folder / "log.txt", theirs))
    process.start()
    if theirs is not None:
        # The end of the process is then the end of the line.
        theirs.close()
    logger.info("Started: %s", spec)
    return _Running(spec, process, slot, time.monotonic(), ours)


def _wait(runs: Runs, running: dict[str, _Running], outcomes: Outcomes) -> None:
    """Wait until a run has ended or been evaluated, and see to all that have."""
    lines = [run.evaluations for run in running.values() if run.evaluations is not None]
    ready = wait([*(run.process.sentinel for run in running.values()), *lines])
    for key, run in list(running.items()):
        is_pruned = run.evaluations in ready and not _answer(runs, run, outcomes)
        if is_pruned or run.process.exitcode is not None:
            run.process.join()
            del running[key]
            _settle(runs, run, outcomes)


def _answer(runs: Runs, run: _Running, outcomes: Outcomes) -> bool:
    """Answer a run that waits to know whether it continues; return whether it does."""
    assert run.evaluations is not None
    try:
        evaluations = run.evaluations.recv()
        if runs.goes_on(run.spec, evaluations, outcomes):
            run.evaluations.send(True)
            return True
    except (EOFError, OSError):
        run.evaluations = None
        return True
    run.process.kill()
    run.evaluations.close()
    run.process.join()
    runs.prune(run.spec, evaluations, run.seconds)
    return False


def _settle(runs: Runs, run: _Running, outcomes: Outcomes) -> None:
    """Note what became of a run whose process has ended."""
    spec = run.spec
    try:
        result = runs.read(spec)
    except (DataError, AccessError) as error:
        reason, code = str(error), run.process.exitcode
        if code and isinstance(error, DataError):
            reason = _reason(spec.folder / "log.txt", code)
        outcomes.failed[spec.key] = reason
        logger.warning("Failed: %s: %s", spec, reason)
    else:
        outcomes.done[spec.key] = result
        split = "valid" if result.get("pruned") else "test"
        figures = ", ".join(
            f"{name} {value:.4f}" for name, value in result[split].items() if name.endswith("_AUC")
        )
        done = "Pruned" if result.get("pruned") else "Done"
        logger.info("%s in %.0f s: %s: %s %s", done, run.seconds, spec, split, figures)
    runs.ended(spec, outcomes, is_old=False)


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
