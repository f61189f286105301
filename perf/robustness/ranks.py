"""Two ranks: kill -9 of one, of torchrun or of all, at random moments of a run and its export."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf.records import Record
from perf.robustness.project import make
from perf.robustness.rank_runs import VICTIMS, Kill, RankRun
from perf.robustness.work import Work

_RESTARTS = 3


def measure(work: Work) -> Iterator[Record]:
    """Kill and resume runs, and have torchrun start them again; compare what they leave.

    Args:
        work: How many kills, and restarts, and where.
    """
    folder = work.folder / "ranks"
    unbroken = _new(folder / "unbroken")
    unbroken.go()
    longest, expected = sum(unbroken.seconds.values()), unbroken.left()
    rng = random.Random(0)
    kills: list[Kill] = []
    ended, different = 0, 0
    while len(kills) < work.rank_kills:
        run = _new(folder / f"killed-{ended}")
        while len(kills) < work.rank_kills:
            kill = run.go(_moment(rng, longest), rng.choice(VICTIMS))
            if kill is None:
                break
            kills.append(kill)
            if not kill.is_clear:
                print(f"ranks: {kill}", file=sys.stderr)
        run.go()
        ended += 1
        different += _differs(run.left(), expected)
        shutil.rmtree(run.folder)
    killed = Counter(kill.victim if kill.stage == "run" else "the export" for kill in kills)
    by_victim = ", ".join(f"{what} {count}" for what, count in sorted(killed.items()))
    what = "two ranks, kill -9 at random moments of prepare, train, evaluate and export"
    yield Record(f"{what} ({by_victim})", len(kills), "kills", f">= {work.rank_kills}")
    left = sum(kill.left for kill in kills)
    yield Record("of them: processes that did not end by themselves", left, "", "<= 0")
    yield Record("longest time to the end of all", max(kill.seconds for kill in kills), "s")
    unclear = sum(not kill.is_clear for kill in kills)
    yield Record("kills with no message, more than one, or a traceback", unclear, "", "<= 0")
    yield Record("runs that finished in the end", ended, "runs")
    what = "of them with another result, weights, predictions, files or export"
    yield Record(what, different, "runs", "<= 0")
    yield from _restarts(work, folder, rng, unbroken.seconds["run"], expected)


def _restarts(
    work: Work, folder: Path, rng: random.Random, longest: float, expected: dict[str, Any]
) -> Iterator[Record]:
    """Kill a rank of runs that torchrun starts again."""
    tried = ended = equal = 0
    while tried < work.rank_restarts:
        run = _new(folder / f"restarted-{tried}", _RESTARTS)
        kill = run.go(_moment(rng, longest), rng.choice(VICTIMS[:2]))
        if kill is not None and kill.victim.startswith("rank"):
            tried += 1
            ended += run.has_result
            if not run.has_result:
                print(f"ranks: {kill}", file=sys.stderr)
            run.go()
            equal += not _differs(run.left(), expected)
        shutil.rmtree(run.folder)
    what = f"two ranks under --max-restarts {_RESTARTS}, a rank killed at a random moment"
    yield Record(what, tried, "runs", f">= {work.rank_restarts}")
    yield Record("of them that torchrun restarted and that finished", ended, "runs", f">= {tried}")
    yield Record("of these with the result of an unbroken run", equal, "runs", f">= {tried}")


def _new(folder: Path, restarts: int = 0) -> RankRun:
    # Long enough for many a moment to be one of training.
    make(folder, epochs=20, early_stop_patience=20)
    return RankRun(folder, restarts)


def _moment(rng: random.Random, longest: float) -> float:
    return time.monotonic() + rng.uniform(0, longest)


def _differs(left: dict[str, Any], expected: dict[str, Any]) -> bool:
    apart = [key for key in expected if left[key] != expected[key]]
    for key in apart:
        print(f"ranks: another {key}", file=sys.stderr)
    return bool(apart)
