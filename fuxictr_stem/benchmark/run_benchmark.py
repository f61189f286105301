"""A benchmark from its file to its report."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

from fuxictr_stem.benchmark.report.report_files import write_leaderboard, write_report
from fuxictr_stem.benchmark.run.benchmark_config import Benchmark, load_benchmark
from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, collect_runs
from fuxictr_stem.benchmark.score.model_analysis import analyse, slice_rows
from fuxictr_stem.config.experiment_config import GROUP_KEY
from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.data.checks.check_leaks import warn_of_leaks
from fuxictr_stem.data.checks.unknown_ids import report_ids, worst
from fuxictr_stem.data.source.raw_columns import find_raw_columns
from fuxictr_stem.errors import ConfigError, TrainingError, raise_all
from fuxictr_stem.run_data import check_device, open_data
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.memory import available_bytes
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.training.trackers.adapters import make_trackers
from fuxictr_stem.tuning.execute import execute
from fuxictr_stem.tuning.run_spec import CPU

logger = logging.getLogger(__name__)


def run_benchmark(
    path: Path, folder: Path, config_dir: Path, jobs: int = 1, gpu: int = -1
) -> FinishedBenchmark:
    """Make the runs that a benchmark still needs, then write its tables and its report into ``folder``.

    ``gpu`` is the CUDA device of all runs, -1 for the CPU; at most ``jobs`` runs are made at a time.

    Raises:
        UserError: If a config, the data, the device or a folder has a problem, another benchmark writes
            into the folder, or no run succeeded.
    """
    check_device(gpu)
    benchmark = load_benchmark(path, config_dir)
    outputs.check_writable(folder, "--out")
    for params in benchmark.experiments.values():
        make_trackers(params["tracker"])
    required = all(params["file_locks"] for params in benchmark.experiments.values())
    with locked(folder / ".lock", "--out", "another benchmark", required, waits=False):
        outputs.remove_temporaries(folder)
        return _run(benchmark, config_dir, folder, jobs, gpu)


def _run(
    benchmark: Benchmark, config_dir: Path, folder: Path, jobs: int, gpu: int
) -> FinishedBenchmark:
    # Faulty data must end here with one message, not once per run.
    caches = {expid: open_data(params) for expid, params in benchmark.experiments.items()}
    for params in benchmark.experiments.values():
        if params["prediction_columns"]:
            find_raw_columns(params, params["prediction_columns"], GROUP_KEY, folder)
    expid, cache = next(iter(caches.items()))
    params = benchmark.experiments[expid]
    unknown = report_ids(cache, params)
    warn_of_leaks(cache, params)
    slices = slice_rows(benchmark, cache)
    _check_resamples(benchmark.resamples, cache, params.get("group_id"))
    software = versions()
    device = CPU if gpu < 0 else torch.cuda.get_device_name(gpu)
    plan = Plan(benchmark, caches, software, config_dir, folder, device)
    trials = max(search.total for search in plan.searches.values())
    logger.info("%d runs, %d at a time; folder %s", plan.total, jobs, folder)
    logger.info("Search: %d trials for each of %d experiments", trials, len(benchmark.experiments))
    outcomes = execute(plan, [gpu] * jobs)
    # Synthetic data says so in its source's name.
    source = (params.get("source") or {}).get("name", benchmark.dataset_id)
    rows = ", ".join(f"{count:,} {split}" for split, count in cache.rows.items())
    facts = {
        "data": f"{source}; rows: {rows}",
        "unknown ids": "; ".join(f"{split}: {worst(shares)}" for split, shares in unknown.items()),
        "command": shlex.join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "device": device,
        "jobs": jobs,
        "threads": benchmark.threads,
        "resamples": benchmark.resamples,
        "trials": trials,
        "versions": software,
    }
    finished = collect_runs(plan, outcomes, facts)
    if not finished.models:
        reasons = [f"{run}: {reason}" for run, reason in finished.failures.items()]
        raise_all(TrainingError, "No run succeeded", reasons)
    leaderboard = write_leaderboard(finished, folder, benchmark.resamples)
    analysis = analyse(benchmark, finished, config_dir, folder, slices)
    write_report(leaderboard, analysis, folder)
    logger.info("Leaderboard: %s", folder / "leaderboard.md")
    logger.info("Report: %s", folder / "report.html")
    return finished


def _check_resamples(resamples: int, cache: Cache, group: str | None) -> None:
    """Reject a bootstrap that memory cannot hold now, not after the training."""
    if group is None:
        return
    users = len(np.unique(cache.column("test", group)))
    # `resample_counts` holds a number of 32 bits per resample and user.
    needed, free = 4 * resamples * users, available_bytes()
    if needed > free:
        raise ConfigError(
            f"resamples: {resamples} of {users:,} test users take {needed / 1e9:.2g} GB of memory, and "
            f"{free / 1e9:.2g} GB are available. Lower resamples."
        )
