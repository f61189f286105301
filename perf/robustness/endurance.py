"""A long run in little: killed now and then, its memory flat, nothing left that does not belong."""

from __future__ import annotations

import random
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf.records import Record
from perf.robustness.project import make
from perf.robustness.work import Work

_ROWS = 60_000
_EPOCH = re.compile(r"P(\d+) \w+ Epoch (\d+) of \d+ begins")
# What a stopped run leaves: its log next to them, weights and states.
_EXPECTED = {".lock", "model.safetensors", "states"}
# The last one is cut short.
_FEWEST_EPOCHS = 3


def measure(work: Work) -> Iterator[Record]:
    """Run for some minutes with kill -9 at random moments; stop by SIGTERM.

    Args:
        work: How long, and where.
    """
    rng, minutes = random.Random(0), work.minutes
    runner = make(
        work.folder / "endurance",
        rows=_ROWS,
        epochs=1_000_000,
        early_stop_patience=1_000_000,
        eval_steps=None,
        reduce_lr_on_plateau=False,
        state_steps=200,
        batch_size=256,
    )
    end = time.monotonic() + 60 * minutes
    kills, peaks = 0, []
    while time.monotonic() < end:
        process = runner.start(resume=True)
        kill_at = min(end, time.monotonic() + rng.uniform(0.02, 0.3) * 60 * minutes)
        peaks += _watch(process, runner, kill_at)
        if time.monotonic() < end:
            process.kill()
            process.join()
            kills += 1
        else:
            process.terminate()
            process.join(120)
    steps = re.findall(r"Stopped by SIGTERM after step ([\d,]+)", runner.output())
    home = runner.folder / "checkpoints" / "toy" / "toy_test"
    strange = [path.name for path in home.iterdir() if path.name not in _EXPECTED]
    strange += [path.name for path in (home / "states").iterdir() if not _is_state(path)]
    yield Record(f"a run of {minutes:g} minutes, kill -9 at random moments", kills, "kills")
    last_step = float(steps[-1].replace(",", "")) if steps else None
    reason = None if steps else "it did not say that it was stopped"
    yield Record("steps it took to a stop by SIGTERM", last_step, "steps", reason=reason)
    growth = max(peaks, default=float("nan"))
    what = "peak memory in the last epoch of a process over that in its first, the largest"
    yield Record(what, growth, "x", "<= 1.05")
    what = ": ".join(["files left that do not belong", *strange])
    yield Record(what, len(strange), "", "<= 0")
    ended = float(process.exitcode == 128 + signal.SIGTERM and bool(steps))
    yield Record("stops that saved the state and said so", ended, "", ">= 1")


def _is_state(path: Path) -> bool:
    return re.fullmatch(r"state-\d{8}", path.name) is not None


def _watch(process: Any, runner: Any, until: float) -> list[float]:
    """Return the last epoch's peak memory over the first's, if the process came that far."""
    peaks: dict[int, int] = defaultdict(int)
    status = Path(f"/proc/{process.pid}/status")
    while time.monotonic() < until and process.is_alive():
        process.join(0.2)
        memory = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
        begun = [epoch for pid, epoch in _EPOCH.findall(runner.output()) if pid == str(process.pid)]
        if memory and begun:
            peaks[int(begun[-1])] = max(peaks[int(begun[-1])], int(memory[1]))
    if len(peaks) < _FEWEST_EPOCHS:
        return []
    first, *_, last, _ = sorted(peaks)
    return [peaks[last] / peaks[first]]
