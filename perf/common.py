"""Sides of a comparison: processes that wait for calls, take turns, and know their memory.

A side has imported everything and made its objects before it is first called, and it takes its times
itself, so neither imports nor the pipe are ever in a time.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]


class BenchmarkError(Exception):
    """Something could not be measured; the message says why."""


class Side:
    """An object in a process of its own, whose methods can be called.

    Args:
        make: Makes the object, in the process; a class or function of a module.
        arguments: For ``make``.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        self._process.start()
        theirs.close()
        self._made = False

    def wait(self) -> None:
        """Wait until the object is made.

        Raises:
            BenchmarkError: If it cannot be made.
        """
        if not self._made:
            self._receive()
            self._made = True

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object and return what it returns.

        Raises:
            BenchmarkError: If the object cannot be made, the method raises, or the process dies.
        """
        self.begin(method, *arguments)
        return self._receive()

    def begin(self, method: str, *arguments: Any) -> None:
        """Call a method of the object and do not wait for its end, which `result` does."""
        self.wait()
        self._pipe.send((method, arguments))

    def result(self) -> Any:
        """Return what the method returns that was begun last; errors as of `call`."""
        return self._receive()

    def _receive(self) -> Any:
        try:
            failure, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            why = "; -9 is what Linux does when memory runs out" if code == -9 else ""
            raise BenchmarkError(f"the process ended with exit code {code}{why}") from None
        if failure:
            raise BenchmarkError(failure)
        return value

    def __enter__(self) -> Side:
        """Return the side."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join()


class Together:
    """Sides that work with one another: each call goes to all at once, and returns what each returns."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._sides = sides

    def wait(self) -> None:
        """Wait until all objects are made; errors as of `Side.wait`."""
        for side in self._sides:
            side.wait()

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of all objects; errors as of `Side.call`."""
        for side in self._sides:
            side.begin(method, *arguments)
        return [side.result() for side in self._sides]


def in_tree(tree: Path, module: str, make: str, *arguments: Any) -> Any:
    """Make an object of a tree's own measurements, in a process that has imported nothing else."""
    # What came along with the call: this module and its arguments' classes.
    for name in [name for name in sys.modules if name.partition(".")[0] == "perf"]:
        del sys.modules[name]
    sys.path.insert(0, str(tree))
    # The package was called `benchmarks` until November 2026.
    package = "perf" if (tree / "perf").is_dir() else "benchmarks"
    return getattr(importlib.import_module(f"{package}.{module}"), make)(*arguments)


def _serve(pipe: Connection, make: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Run a side: make its object, then answer calls until the end."""
    # What FuxiCTR, Ray and our progress bars print would hide the table.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    def answer(function: Callable[..., Any], arguments: Sequence[Any], returns: bool) -> Any:
        try:
            value = function(*arguments)
        except Exception:
            pipe.send((traceback.format_exc(), None))
            return None
        pipe.send((None, value if returns else None))
        return value

    # The object itself stays here.
    target = answer(make, arguments, returns=False)
    while target is not None and (call := pipe.recv()) is not None:
        answer(getattr(target, call[0]), call[1], returns=True)


def alternate(
    sides: Mapping[str, Side | Together], rounds: int, method: str, *arguments: Any
) -> dict[str, list[Any]]:
    """Call a method of each side in turn, A B A B ..., and return what each returned, by round."""
    for side in sides.values():
        side.wait()
    results: dict[str, list[Any]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            results[name].append(side.call(method, *arguments))
    return results


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times slower the first side is: the median of the rounds' ratios.

    The two times of a round were taken one after the other, so that what slows the machine down for
    a while slows both.
    """
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that some work took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def reset_peak_memory() -> int:
    """Begin a new peak where Linux can, and return this process' memory now, in bytes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def peak_memory() -> int:
    """Return the peak memory of this process, with that of its largest ended child, in bytes."""
    scale = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * scale
    return _memory("VmHWM") + children


def unshared_memory() -> int:
    """Return this process' memory now without what others may share, such as libraries, in bytes."""
    return _memory("RssAnon")


def _memory(field: str) -> int:
    """Read a field of Linux' account of this process; getrusage counts the parent's memory, too."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        match = None
    if match is None:
        raise BenchmarkError("memory is measured through /proc/self/status, which is not here")
    return int(match[1]) * 1024


def forget_file(path: Path) -> None:
    """Drop a file from the system's page cache, so that the next read comes from the disk."""
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
