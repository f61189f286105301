"""Each file of a cache and of a training state damaged in turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf.records import Record
from perf.robustness.project import left_by, make, spoil
from perf.robustness.work import Broken, Work

DAMAGES = ("cut", "flip", "empty", "delete")


def measure(work: Work) -> Iterator[Record]:
    """Damage a file, run, and see whether it was found and the result is the right one.

    Args:
        work: Where.
    """
    folder = work.folder / "damage"
    stopped = _stopped(folder / "stopped")
    whole = make(folder / "whole")
    if whole.run() != 0:
        raise Broken(whole.output())
    expected = left_by(whole.folder)
    cache = next(path for path in (whole.folder / "data" / "toy").iterdir() if path.is_dir())
    states = stopped.folder / "checkpoints" / "toy" / "toy_test" / "states"
    # The kill may have left an unfinished one, too.
    newest = max(path for path in states.iterdir() if path.suffix == "")
    for what, source, files in (
        ("a cache", whole, sorted(cache.iterdir())),
        ("a training state", stopped, sorted(newest.iterdir())),
    ):
        num_damages, num_found = 0, 0
        for file in files:
            for damage in DAMAGES:
                num_damages += 1
                place = folder / f"{num_damages}_{what.split()[-1]}"
                num_found += _is_found(source, place, file, damage, expected)
        yield Record(f"damages to the {len(files)} files of {what}", num_damages, "")
        yield Record(f"damages to {what} that were not found", num_damages - num_found, "", "<= 0")


def _stopped(folder: Path) -> Any:
    """Return a project whose run was killed when it had two states, the newest with best weights."""
    runner = make(folder)
    states = folder / "checkpoints" / "toy" / "toy_test" / "states"
    process = runner.start()
    # The state after the first evaluation, and the next.
    while process.is_alive() and len(list(states.glob("state-*/best_weights"))) < 2:
        process.join(0.01)
    process.kill()
    process.join()
    return runner


def _is_found(source: Any, place: Path, file: Path, damage: str, expected: Any) -> bool:
    """Say whether a run on a damaged copy of a project names the file and ends with the right result."""
    shutil.copytree(source.folder, place)
    runner = type(source)(place)
    damaged = place / file.relative_to(source.folder)
    spoil(damaged, damage)
    before = len(runner.output())
    code = runner.run(resume=(place / "checkpoints" / "toy" / "toy_test" / "states").exists())
    log = runner.output()[before:]
    if code == 2:
        # A block is read when it is needed; the message says what to do, and that helps.
        is_found = "error: " in log and file.name in log
        shutil.rmtree(place / "data")
        is_found = is_found and runner.run() == 0
    else:
        is_found = code == 0 and "damaged" in log
    is_found = is_found and left_by(place)["weights"] == expected["weights"]
    shutil.rmtree(place)
    return is_found
