"""Odd inputs that each have an oracle: which caches are right, and what is rejected."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from perf.records import Record, markdown_table
from perf.robustness.work import Work
from tests.support.fuzz.verdict import explore_readings

_KINDS = ("right", "rejected", "could be read", "silent")
_ABOUT = "inputs with an oracle"


class Verdicts(NamedTuple):
    """Verdicts of one process; the fields are those of ``tests.support.fuzz.verdict.Readings``."""

    kinds: Counter[str]
    dimensions: dict[str, Counter[str]]
    rejections: Counter[str]
    silent: dict[str, str]


def measure(work: Work) -> Iterator[Record]:
    """Build the caches of many inputs and compare every row, label and id with the oracle's.

    Args:
        work: How many inputs, in how many processes; gets the sections of `account`.

    Yields:
        The records of `account`.
    """
    share = -(-work.examples // work.processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(work.processes, context) as pool:
        parts = [pool.submit(_explore, share, i * share) for i in range(work.processes)]
        verdicts = [part.result() for part in parts]
    yield from account(verdicts, work)


def account(verdicts: Sequence[Verdicts], work: Work) -> Iterator[Record]:
    """Sum up the verdicts of several processes; print an input for each silent fault.

    Args:
        verdicts: The verdicts of each process.
        work: Gets a table by dimension, and one of those that were rejected without need.

    Yields:
        How many inputs were read right, were rejected, and were silently wrong.
    """
    kinds: Counter[str] = sum((part.kinds for part in verdicts), Counter())
    rejections: Counter[str] = sum((part.rejections for part in verdicts), Counter())
    dimensions: dict[str, Counter[str]] = {}
    for part in verdicts:
        for name, counts in part.dimensions.items():
            dimensions.setdefault(name, Counter()).update(counts)
        for fault, example in part.silent.items():
            print(f"silent: {fault}\n{example}\n", file=sys.stderr, flush=True)
    yield Record(f"{_ABOUT}: tried", kinds.total(), "examples", f">= {work.examples}")
    yield Record(f"{_ABOUT}: every row, label and id right", kinds["right"], "examples")
    yield Record(f"{_ABOUT}: rejected, having no right reading", kinds["rejected"], "examples")
    yield Record(f"{_ABOUT}: rejected, having one", kinds["could be read"], "examples")
    yield Record(f"{_ABOUT}: silently wrong", kinds["silent"], "examples", "<= 0")
    rows = [[name, *(str(c[kind]) for kind in _KINDS)] for name, c in sorted(dimensions.items())]
    head = ["what is odd", "right", "rejected", "rejected, but readable", "silent"]
    work.sections.append(f"## {_ABOUT}: by what is odd\n\n{markdown_table([head, *rows])}")
    common = [[text.replace("|", "\\|"), str(n)] for text, n in rejections.most_common(20)]
    work.sections.append(
        f"## {_ABOUT}: rejected, although there is one right reading\n\n"
        + markdown_table([["rejection", "times"], *common])
    )


def _explore(count: int, start: int) -> Verdicts:
    """Try the inputs of some seeds in this process."""
    readings = explore_readings(count, start)
    return Verdicts(readings.kinds, readings.dimensions, readings.rejections, readings.silent)
