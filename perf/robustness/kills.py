"""kill -9 at random moments of a run, from the first check to the last metric, under either loader."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from perf.records import Record
from perf.robustness.project import LOADERS, Runner, kill_again_and_again, left_by, make
from perf.robustness.work import Broken, Work


def measure(work: Work) -> Iterator[Record]:
    """Kill and resume runs; compare what each leaves with what an unbroken one leaves.

    Args:
        work: How many, half of them under each loader, and where.
    """
    kills, folder = work.kills, work.folder / "kills"
    runners: list[Runner] = []

    def remembered(place: Path) -> Runner:
        runners.append(make(place, loader))
        return runners[-1]

    ended, different, by_loader = 0, 0, {}
    for seed, loader in enumerate(LOADERS):
        home = folder / loader
        unbroken = make(home / "unbroken", loader)
        start = time.monotonic()
        code = unbroken.run()
        longest = time.monotonic() - start
        if code != 0:
            raise Broken(unbroken.output())
        expected = left_by(unbroken.folder)
        begun = len(runners)
        for left in kill_again_and_again(remembered, home, kills // 2, longest, seed):
            ended += 1
            apart = [key for key in expected if left[key] != expected[key]]
            different += bool(apart)
            for key in apart:
                print(f"kills, {loader}: another {key}", file=sys.stderr)
                if key in ("files", "caches", "last line", "result"):
                    print(f"  {left[key]}\n  {expected[key]}", file=sys.stderr)
        by_loader[loader] = sum(runner.exit_codes.count(-9) for runner in runners[begun:])
    for loader, count in by_loader.items():
        what = f"kill -9 at random moments of prepare, train and evaluate, {loader} loader"
        yield Record(what, count, "kills", f">= {kills // 2}")
    yield Record("runs that finished in the end", ended, "runs")
    yield Record(
        "of them with another result, weights, predictions or files", different, "runs", "<= 0"
    )
    lost = len(runners) - ended
    yield Record("runs that were lost or stuck", lost, "runs", "<= 0")
