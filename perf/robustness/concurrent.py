"""Eight runs of one experiment that start at once on an empty cache."""

from __future__ import annotations

from collections.abc import Iterator

from perf.records import Record
from perf.robustness.project import left_by, make
from perf.robustness.work import Broken, Work

RUNS = 8


def measure(work: Work) -> Iterator[Record]:
    """Start the runs and compare them with one that runs alone.

    Args:
        work: Where.
    """
    folder = work.folder / "concurrent"
    alone = make(folder / "alone")
    if alone.run() != 0:
        raise Broken(alone.output())
    together = make(folder / "together")
    processes = [together.start() for _ in range(RUNS)]
    for process in processes:
        process.join()
    ended = sum(process.exitcode == 0 for process in processes)
    lines = (together.folder / "config.csv").read_text().splitlines()
    figures = {line.split(",[exp_id] ")[1] for line in lines}
    results = {
        place: left_by(runner.folder) for place, runner in (("alone", alone), ("all", together))
    }
    for result in results.values():
        result.pop("files")
    builds = together.output().count("Built the cache")
    yield Record(f"of {RUNS} runs at once that ended well", ended, "runs", f">= {RUNS}")
    yield Record("builds of the cache by them", builds, "", "<= 1")
    yield Record("results lines of them", len(lines), "", f">= {RUNS}")
    yield Record("different results lines among them", len(figures), "", "<= 1")
    apart = float(results["alone"] != results["all"])
    yield Record("differences to a run alone in result, weights and predictions", apart, "", "<= 0")
