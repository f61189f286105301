"""Several processes against one: the memory of each, the messages of a step, the seconds of a step."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from fuxictr_stem.runtime.group import Member
from fuxictr_stem.training.precision import BF16, FP32
from perf.common import Side, Together, alternate, ratio
from perf.data import draw, label_names, vocabulary_sizes, write_h5
from perf.process_sides import MemoryOfRank, Messages, Rank, joined
from perf.records import Record
from perf.sizes import Setting, Sizes
from perf.training import rows_text

_GIB, _MB = 2**30, 1e6
# Batches of an epoch whose memory is measured: the peak comes with the first ones.
_EPOCH_BATCHES = 3


def memory(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the peak memory of each process, as they become more."""
    setting = sizes.setting(sizes.process_rows)
    columns, labels = vocabulary_sizes(setting.table_rows), label_names(setting.tasks)
    rows = _EPOCH_BATCHES * setting.batch_size
    alone = 0.0
    for count in sizes.process_counts:
        place = folder / f"memory {count}"
        place.mkdir()
        for split, size in (("train", rows), ("valid", setting.batch_size)):
            write_h5(place / f"{split}.h5", draw(columns, labels, size, seed=size))
        peaks = _run_all(partial(Side, MemoryOfRank, setting, place), count)
        shutil.rmtree(place)
        before, peak = max(peaks, key=lambda pair: pair[1])
        at = f"{_processes(count)}, exact, {rows_text(setting.table_rows)} table rows"
        yield Record(f"peak memory of the largest process, {at}", peak / _GIB, "GiB")
        yield Record(f"of that before the model is made, {at}", before / _GIB, "GiB")
        if count == 1:
            alone = peak - before
        else:
            target = "<= 0.55" if count == 2 else None
            what = f"peak memory without that, over that of one process, {at}"
            yield Record(what, (peak - before) / alone, "x", target)


def _run_all(make: Any, count: int) -> list[tuple[int, int]]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    with ExitStack() as stack:
        sides = [stack.enter_context(make(Member(number, count), port)) for number in range(count)]
        return Together(sides).call("run")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def messages(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Count the messages of a step and their bytes, as processes and rows of the batch become more."""
    setting = sizes.setting(sizes.process_rows)
    for count in sizes.process_counts:
        if count == 1:
            continue
        with ExitStack() as stack:
            ranks = _together(stack, folder / f"messages {count}", setting, True, count)
            for batch_size in sizes.process_batches:
                at = f"{_processes(count)}, batch {batch_size:,}"
                exact = ranks.call("messages", batch_size, FP32)
                halved = ranks.call("messages", batch_size, BF16)
                yield Record(
                    f"messages of a step, to which the loop adds one, {at}", exact[0].number, ""
                )
                yield from _bytes(exact, halved, at)


def _bytes(exact: Sequence[Messages], halved: Sequence[Messages], at: str) -> Iterator[Record]:
    """Yield the mean bytes of a process."""
    parts = {
        "numbers of rows": [of_rank.ids for of_rank in exact],
        "rows and their gradients": [of_rank.rows for of_rank in exact],
        "the same with exchange_precision bf16": [of_rank.rows for of_rank in halved],
        "dense gradients and sums": [of_rank.summed for of_rank in exact],
    }
    for what, sizes in parts.items():
        yield Record(f"a process sends per step, {what}, {at}", mean(sizes) / _MB, "MB")
    sent = [of_rank.rows for of_rank in exact]
    yield Record(
        f"rows and gradients of the busiest over the mean, {at}", max(sent) / mean(sent), "x"
    )


def _together(
    stack: ExitStack, store: Path, setting: Setting, row_sparse: bool, count: int
) -> Together:
    parts = [Member(number, count) for number in range(count)]
    sides = [Side(joined, store, setting, row_sparse, part, 1) for part in parts]
    return Together([stack.enter_context(side) for side in sides])


def steps(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the step of two processes of a thread against one process of two threads."""
    setting = sizes.setting(sizes.process_rows)
    for row_sparse, text in ((False, "exact"), (True, "row-sparse")):
        with ExitStack() as stack:
            alone = stack.enter_context(Side(Rank, setting, row_sparse, Member(), 2))
            two = _together(stack, folder / f"steps {text}", setting, row_sparse, 2)
            sides: dict[str, Side | Together] = {"one": alone, "two": two}
            rounds = alternate(sides, sizes.repetitions + 1, "steps", sizes.steps)
        # The first round warms up. Ranks end together but for what they do after the last message.
        of_one = rounds["one"][1:]
        of_two = [max(seconds) for seconds in rounds["two"][1:]]
        at = f"{text}, {rows_text(setting.table_rows)} table rows, batch {setting.batch_size:,}"
        for name, seconds in (
            ("1 process of 2 threads", of_one),
            ("2 processes of 1 thread", of_two),
        ):
            yield Record(f"step, {name}, {at}", 1e3 * median(seconds) / sizes.steps, "ms")
        yield Record(
            f"step time of 2 processes over 1 on the same cores, {at}", ratio(of_two, of_one), "x"
        )


def measure(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure all three."""
    yield from memory(sizes, folder)
    yield from messages(sizes, folder)
    yield from steps(sizes, folder)
