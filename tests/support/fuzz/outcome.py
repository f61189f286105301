"""What a run may do with anything that it is given: end whole, or in one message and nothing else."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from fuxictr_stem.data.cache.damage import check
from fuxictr_stem.errors import UserError
from fuxictr_stem.experiment import run_experiment

EXPID = "fuzzed"
RAN = "ran"
RAN_AS_FUXICTR = "ran, every id FuxiCTR's"
# Where the configs of the examples have it write; "x" is next to the working folder "current".
WRITABLE = {"data", "checkpoints", "results.csv", "current", "x"}
_SECONDS = 120
_CACHE = re.compile(r"[0-9a-f]{16}")
_LONGEST = 30_000


class Broken(AssertionError):
    """A run did what none may do; the text holds the whole example."""


class Endless(BaseException):
    """A run takes too long; no error that it might handle."""


@dataclass
class Counts:
    """Outcomes of many examples.

    Attributes:
        ran: Runs that ended with a whole result.
        same: Those of them whose every id was compared with FuxiCTR's.
        rejected: Rejections by kind.
    """

    ran: int = 0
    same: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str) -> None:
        """Count what became of an example."""
        if outcome in (RAN, RAN_AS_FUXICTR):
            self.ran += 1
            self.same += outcome == RAN_AS_FUXICTR
        else:
            self.rejected[outcome] += 1

    def totals(self) -> dict[str, int]:
        """Return ``ran`` and ``rejected``."""
        return {"ran": self.ran, "rejected": sum(self.rejected.values())}


def explore(
    examples: SearchStrategy[Any],
    outcome: Callable[[Any, Path], str],
    count: int,
    start: int | None = None,
) -> Counts:
    """Try many examples, each in a folder of its own.

    Args:
        examples: What to draw from.
        outcome: Tries one in a folder and returns its outcome.
        count: How many.
        start: Seed of the draws; by default always the same.

    Returns:
        What became of them.

    Raises:
        Broken: With the smallest example found that does what none may do.
    """
    counts = Counts()

    def test(example: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                with time_limit(_SECONDS):
                    counts.add(outcome(example, Path(folder)))
            except (Exception, Endless) as error:
                raise Broken(f"{type(error).__name__}: {error}\n{example}") from error

    # A test inside of a function has no place of its own for its examples.
    chosen = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=start is None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    bound = chosen(given(examples)(test))
    # A folder that is gone in a moment need not be on the disk.
    with mock.patch.object(os, "fsync"):
        (bound if start is None else seed(start)(bound))()
    return counts


def run_whole(folder: Path) -> str:
    """Run the experiment in a folder and look at what it leaves.

    Args:
        folder: Holds ``config``; the run may write into `WRITABLE` there.

    Returns:
        `RAN`, or the kind of the rejection.

    Raises:
        AssertionError: If the result is not whole, or a rejection leaves something.
        Exception: Whatever else the run raises.
    """
    before = _content(folder)
    results, config = folder / "results.csv", folder / "config"
    current = folder / "current"
    current.mkdir()
    try:
        with working_in(current), nothing_printed(), warnings.catch_warnings():
            # A warning of NumPy's is a number gone wrong.
            warnings.simplefilter("error", RuntimeWarning)
            result = run_experiment(config, EXPID, csv_path=results)
    except UserError as error:
        _check_message(str(error), folder)
        assert not results.exists(), "a results line of a rejected run"
        assert not list(folder.rglob("result.json")), "a result of a rejected run"
        outcome = f"{type(error).__name__}: {_kind(str(error), folder)}"
    else:
        _check_result(result, folder)
        outcome = RAN
    _check_caches(folder)
    changed = {p for p, was in before.items() if not p.is_file() or p.read_bytes() != was}
    added = {p.relative_to(folder).parts[0] for p in _content(folder).keys() - before.keys()}
    assert not changed, f"changed: {changed}"
    assert added <= WRITABLE, f"written elsewhere: {added}"
    return outcome


def _check_result(result: dict[str, Any], folder: Path) -> None:
    (written,) = folder.rglob("result.json")
    assert json.loads(written.read_text()) == json.loads(json.dumps(result))
    assert len((folder / "results.csv").read_text().splitlines()) == 1
    assert (written.parent / "model.safetensors").stat().st_size
    for split in ("valid", "test"):
        wrong = [name for name, value in result[split].items() if not math.isfinite(value)]
        assert not wrong, f"not finite: {wrong}"
    assert result["valid"], "no metric"
    assert math.isfinite(result["evaluations"][-1]["train_loss"])


def _check_message(text: str, folder: Path) -> None:
    assert text.strip(), "an empty message"
    assert len(text) < _LONGEST, f"a message of {len(text)} characters"
    assert "Traceback" not in text
    assert " object at 0x" not in text, f"an address in {text!r}"


def _check_caches(root: Path) -> None:
    for path in root.rglob("*"):
        assert ".tmp-" not in path.name, f"left behind: {path}"
        if path.is_dir() and _CACHE.fullmatch(path.name):
            check(path)


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _kind(text: str, folder: Path) -> str:
    """Return the first problem of a rejection, without what differs from one to the next."""
    lines = text.replace(f"{folder}/", "").splitlines()
    line = next((line for line in lines[1:] if line.startswith("- ")), lines[0]).lstrip("- ")
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "_", line)
    line = re.sub(
        r"^(config/\S+ |[\w/]+\.(csv|parquet) \(\w+\)[:,] |dataset _: |samples: |labels: )+",
        "",
        line,
    )
    line = re.sub(r"\b(train|valid|test)(?=\b|_)", "<split>", line)
    line = re.sub(r"\d[\d,.e+]*", "#", line)
    return line.partition(". ")[0][:80]


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Have relative paths begin in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def nothing_printed() -> Iterator[None]:
    """Find the tracebacks that Python prints of errors that it cannot raise."""
    found: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda error: found.append(f"{error.exc_value!r} in {error.object!r}")
    try:
        yield
    finally:
        sys.unraisablehook = before
        assert not found, f"a printed traceback: {found}"


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `Endless` in the main thread of the process after some seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Endless(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
