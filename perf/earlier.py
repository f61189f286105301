"""This tree against an earlier commit: the time of training, loaders, cache and a whole run.

Each tree is measured by its own `perf` package in processes of its own, and the trees take turns.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from perf.common import ROOT, BenchmarkError, Side, alternate, in_tree, ratio
from perf.data import dataset_config, draw, label_names, vocabulary_sizes, write_csv, write_h5
from perf.records import Record
from perf.sizes import Sizes
from perf.whole_run import make_entry, run_entry

_TARGET = "<= 1.02"


def compare(sizes: Sizes, folder: Path, commit: str) -> Iterator[Record]:
    """Measure both trees.

    Raises:
        BenchmarkError: If git cannot give the commit's tree.
    """
    earlier = folder / "earlier"
    earlier.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise BenchmarkError(archive.stderr.decode().strip())
    subprocess.run(["tar", "-x"], cwd=earlier, input=archive.stdout, check=True)
    trees = {"earlier": earlier, "now": ROOT}
    rounds = sizes.rounds + 1  # the first warms up

    def record(what: str, seconds: dict[str, list[float]]) -> Iterator[Record]:
        before, now = seconds["earlier"][1:], seconds["now"][1:]
        yield Record(f"{what}, time over that of {commit}", ratio(now, before), "x", _TARGET)
        yield Record(f"{what}, {commit}", median(before), "s")
        yield Record(f"{what}, now", median(now), "s")

    def sides(stack: ExitStack, module: str, make: str, *arguments: Any) -> dict[str, Side]:
        return {
            name: stack.enter_context(Side(in_tree, tree, module, make, *arguments))
            for name, tree in trees.items()
        }

    for kind in ("exact", "row_sparse"):
        setting = sizes.setting(sizes.table_rows[-1])
        with ExitStack() as stack:
            steps = alternate(
                sides(stack, "sides", "Training", setting, kind, True),
                rounds,
                "steps",
                sizes.steps,
            )
        at = f"{sizes.steps} steps, {kind.replace('_', '-')}, {setting.table_rows:,} table rows"
        yield from record(at, {name: [s for s, _ in results] for name, results in steps.items()})
        losses = [[loss for _, part in results for loss in part] for results in steps.values()]
        differing = sum(a != b for a, b in zip(*losses, strict=True))
        yield Record(f"losses that differ in any bit from those of {commit}, {at}", differing, "")

    h5 = folder / "loader.h5"
    columns = draw(vocabulary_sizes(1_000_000), label_names(2), sizes.loader_rows, seed=0)
    write_h5(h5, columns)
    for text, budget in (("in memory", None), ("from disk", 0)):
        arguments = (h5, sizes.loader_rows, sizes.batch_size, budget)
        with ExitStack() as stack:
            epochs = alternate(sides(stack, "loading", "Ours", *arguments), rounds, "epoch")
        yield from record(f"an epoch of the loader {text}, {sizes.loader_rows:,} rows", epochs)

    files = (folder / "train.csv", folder / "valid.csv")
    write_csv(files[0], *sizes.csv_rows)
    write_csv(files[1], 10_000, sizes.csv_rows[1], seed=1)

    def build(name: str) -> float:
        place = folder / f"cache_{name}"
        with Side(
            in_tree, trees[name], "caching", "Encoding", dataset_config(place, *files)
        ) as side:
            seconds = side.call("ours")
        shutil.rmtree(place)
        return float(seconds)

    yield from record(f"CSV to cache, {sizes.csv_rows[0]:,} rows", _turns(build, rounds))

    entries = {name: make_entry(folder / f"run_{name}", tree) for name, tree in trees.items()}
    runs = _turns(lambda name: run_entry(entries[name], trees[name]), rounds)
    yield from record("a run, cached, 100 rows, start to exit", runs)


def _turns(measure: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {"earlier": [], "now": []}
    for _ in range(rounds):
        for name, values in seconds.items():
            values.append(measure(name))
    return seconds
