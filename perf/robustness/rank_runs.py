"""A run under torchrun and its export, as processes that can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.robustness.project import left_by
from perf.robustness.work import Broken

VICTIMS = ("rank 0", "rank 1", "torchrun", "all")
# Seconds after which what should end is stuck; torchrun gives a rank 30 to end.
_STUCK = 600
_ROOT = Path(__file__).parents[2]
_HOME = Path("checkpoints/toy/toy_test")
_MESSAGE = re.compile(r"^(?:error: |Stopped by )", re.MULTILINE)
_TRACE = "Traceback (most recent call last)"


@dataclass
class Kill:
    """What a kill has led to.

    Attributes:
        victim: Who was killed; of ``VICTIMS``.
        stage: ``run`` or ``export``.
        seconds: Until all processes had ended.
        left: Processes that had not.
        finished: Whether the training is over nevertheless.
        of_ranks: The output of the ranks.
        of_torchrun: Its own output.
    """

    victim: str
    stage: str
    seconds: float
    left: int
    finished: bool
    of_ranks: str
    of_torchrun: str

    @property
    def is_clear(self) -> bool:
        """Whether there is one message, and nothing but it.

        Where a rank has died before the others could know it, torchrun names it. Where all die, nobody is
        left to say anything.
        """
        messages = len(_MESSAGE.findall(self.of_ranks))
        is_named = "exitcode  : -9" in self.of_torchrun
        needed = self.victim == "torchrun" or self.victim != "all" and not is_named
        needed = needed and not self.finished
        return _TRACE not in self.of_ranks and needed <= messages <= 1


class RankRun:
    """A run with two ranks, then its export, in a project's folder; begun again until all is there.

    Args:
        folder: The project's.
        restarts: Those that torchrun does.

    Attributes:
        seconds: Of the stages that were not killed.
    """

    def __init__(self, folder: Path, restarts: int = 0) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self._restarts = restarts
        self._attempts = 0

    def go(self, kill_at: float | None = None, victim: str = "") -> Kill | None:
        """Do what is missing; kill somebody at a moment of `time.monotonic`, if it is not over by then."""
        for stage in ("run", "export"):
            product = self.folder / ("export" if stage == "export" else _HOME / "result.json")
            if not product.exists():
                kill = self._do(stage, kill_at, victim)
                if kill is not None:
                    return kill
        return None

    @property
    def has_result(self) -> bool:
        """Whether the training is over."""
        return (self.folder / _HOME / "result.json").exists()

    def left(self) -> dict[str, Any]:
        """Return what is the same after each run, and its export."""
        files = sorted((self.folder / "export").rglob("*"))
        export = {path.name: path.read_bytes() for path in files if path.is_file()}
        return {**left_by(self.folder), "export": export}

    def output(self) -> str:
        """Return the output of the last command."""
        return self._of_torchrun.read_text() + self._of_ranks()

    def _do(self, stage: str, kill_at: float | None, victim: str) -> Kill | None:
        start = time.monotonic()
        process = self._start(stage)
        while process.poll() is None and (kill_at is None or time.monotonic() < kill_at):
            time.sleep(0.01)
        if process.poll() is not None:
            if process.returncode:
                raise Broken(self.output())
            self.seconds[stage] = time.monotonic() - start
            return None
        ranks = _children(process.pid)
        killed = [pid for pid, number in ranks.items() if victim == f"rank {number}"]
        if victim in ("torchrun", "all"):
            killed = [process.pid, *(ranks if victim == "all" else [])]
        if stage == "export" or not ranks or not killed:
            # There is no such process yet.
            killed, victim = [process.pid, *ranks], "all"
        for pid in killed:
            _kill(pid)
        start = time.monotonic()
        if self._restarts and victim.startswith("rank"):
            process.wait(_STUCK)
        else:
            while _running(process, ranks) and time.monotonic() < start + _STUCK:
                time.sleep(0.01)
        seconds, left = time.monotonic() - start, _running(process, ranks)
        for pid in left:
            _kill(pid)
        process.wait()
        texts = self._of_ranks(), self._of_torchrun.read_text()
        return Kill(victim, stage, seconds, len(left), self.has_result, *texts)

    def _start(self, stage: str) -> subprocess.Popen[bytes]:
        self._attempts += 1
        command = [sys.executable, "-m", "fuxictr_stem", "export"]
        command += ["--run", str(_HOME), "--out", "export"]
        if stage == "run":
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += ["--nproc-per-node", "2", "--max-restarts", str(self._restarts)]
            command += ["--redirects", "3", "--log-dir", str(self._logs)]
            command += ["-m", "fuxictr_stem", "run", "--config", "config", "--expid", "toy_test"]
            command += ["--resume"]
        variables = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        with self._of_torchrun.open("w") as file:
            return subprocess.Popen(
                command, cwd=self.folder, env=variables, stdout=file, stderr=file
            )

    @property
    def _logs(self) -> Path:
        return self.folder / f"ranks-{self._attempts}"

    @property
    def _of_torchrun(self) -> Path:
        return self.folder / f"torchrun-{self._attempts}.txt"

    def _of_ranks(self) -> str:
        return "".join(path.read_text() for path in sorted(self._logs.rglob("std*.log")))


def _children(parent: int) -> dict[int, str]:
    """Return the processes that a process has started, with their numbers as ranks."""
    ranks = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if _stat(int(path.name))[1] == str(parent):
                variables = (path / "environ").read_bytes().split(b"\0")
                numbers = [v.decode()[5:] for v in variables if v.startswith(b"RANK=")]
                ranks[int(path.name)] = numbers[0] if numbers else ""
        except OSError:
            continue
    return ranks


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _running(process: subprocess.Popen[bytes], ranks: dict[int, str]) -> list[int]:
    running = [] if process.poll() is not None else [process.pid]
    for pid in ranks:
        try:
            if _stat(pid)[0] != "Z":
                running.append(pid)
        except OSError:
            continue
    return running


def _stat(pid: int) -> list[str]:
    """Return the state of a process, its parent, and more."""
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
