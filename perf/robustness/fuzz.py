"""Many examples in several processes: each runs to a whole result or is rejected in one message."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from perf.records import Record, markdown_table
from perf.robustness.work import Broken, Work
from tests.support.fuzz.outcome import Broken as FoundBroken


def measure(work: Work, topic: str) -> Iterator[Record]:
    """Try examples of a topic.

    Args:
        work: How many, in how many processes; gets a table of the rejections.
        topic: ``configs`` or ``inputs``.

    Yields:
        How many ran, were rejected, and did anything else.

    Raises:
        Broken: With the smallest example found that did.
    """
    share = -(-work.examples // work.processes)
    # Each process imports for itself: a fork of threads that PyTorch has started can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(work.processes, context) as pool:
        parts = [pool.submit(_explore, topic, share, start) for start in range(work.processes)]
        counts = [part.result() for part in parts]
    for error in (error for *_, error in counts if error):
        raise Broken(error)
    ran, same = sum(part[0] for part in counts), sum(part[1] for part in counts)
    rejected: Counter[str] = sum((part[2] for part in counts), Counter())
    total = sum(rejected.values())
    yield Record(f"{topic}: tried", ran + total, "examples", f">= {work.examples}")
    yield Record(f"{topic}: ran to a whole result", ran, "examples")
    if same:
        yield Record(f"{topic}: of these, every id compared with FuxiCTR's", same, "examples")
    yield Record(f"{topic}: rejected in one message", total, "examples")
    yield Record(f"{topic}: kinds of messages", len(rejected), "kinds")
    yield Record(f"{topic}: anything else", 0, "examples", "<= 0")
    rows = [[_cell(kind), str(count)] for kind, count in rejected.most_common(40)]
    work.sections.append(
        f"## {topic}: the most frequent rejections\n\n"
        + markdown_table([["rejection", "times"], *rows])
    )


def _explore(topic: str, count: int, start: int) -> tuple[int, int, Counter[str], str]:
    """Try examples in this process; return what became of them, and the example that broke it."""
    logging.disable(logging.CRITICAL)
    # The processes are as many as the cores.
    torch.set_num_threads(1)
    helper: Any = importlib.import_module(f"tests.support.fuzz.{topic}")
    explore = getattr(helper, f"explore_{topic}")
    try:
        counts = explore(count, start)
    except FoundBroken as error:
        return 0, 0, Counter(), str(error)
    except Exception:  # noqa: BLE001  such as hypothesis's own, of an example that fails at times
        return 0, 0, Counter(), traceback.format_exc()
    return counts.ran, counts.same, counts.rejected, ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
