"""A run on a tiny data set whose cache is there, from the command to its exit."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from perf.common import ROOT, BenchmarkError, timed
from perf.records import Record
from perf.sizes import Sizes

_ROWS = 100
_LIMIT = 600  # seconds


def _write_data(folder: Path) -> None:
    """Write two files in the columns of FuxiCTR's tiny_mtl."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"categorical_{i}" for i in range(1, 17)] + [f"numerical_{i}" for i in range(1, 64)]
    for split in ("train", "test"):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*names, "click", "conversion"])
            for row in range(_ROWS):
                ids, numbers = rng.integers(0, 30, 16), rng.random(63).round(4)
                writer.writerow([*ids, *numbers, int(row % 3 == 0), int(row % 10 == 0)])


def make_entry(checkout: Path, tree: Path = ROOT) -> Path:
    """Put a tree's drop-in entry into a checkout of FuxiCTR with its tiny data; return its folder."""
    _write_data(checkout / "data" / "tiny_mtl")
    inside = Path("model_zoo", "multitask", "STEMNet")
    shutil.copytree(tree / inside, checkout / inside, ignore=shutil.ignore_patterns("__pycache__"))
    return checkout / inside


def run_entry(entry: Path, tree: Path = ROOT, options: Sequence[str] = ()) -> float:
    """Run the drop-in entry with a tree's package; return the seconds from the command to its exit."""
    command = [sys.executable, "run_expid.py", "--expid", "STEMNet_test", *options]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    seconds, done = timed(
        lambda: subprocess.run(
            command, cwd=entry, env=environment, capture_output=True, text=True, timeout=_LIMIT
        )
    )
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command[1:])} failed: {done.stderr.strip()[-500:]}")
    return seconds


def compare(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure second runs of the drop-in entry, under our engine and under FuxiCTR's."""
    entry = make_entry(folder / "checkout")
    options = {"plain": ("--engine", "fuxictr"), "ours": ()}
    seconds: dict[str, list[float]] = {name: [] for name in options}
    for _ in range(sizes.repetitions + 1):
        for name, chosen in options.items():
            seconds[name].append(run_entry(entry, options=chosen))
    # The first runs make the caches.
    at = f"cached, {_ROWS} rows, start to exit"
    yield Record(f"a run, {at}", median(seconds["ours"][1:]), "s", "<= 5")
    yield Record(f"a run under FuxiCTR's engine, {at}", median(seconds["plain"][1:]), "s")
