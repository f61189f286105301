"""What training over many GPUs would take, from counts and stated assumptions: nothing here is measured.

One rank per GPU, the engine's step (`fuxictr_stem.distributed`) on the same batches whatever their number.

Symbols: P ranks; G of them on a host; W numbers of a wide row; U different rows that a rank's part of a
batch looks up; D dense weights; b bytes of a number that travels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from perf.data import draw, label_names, vocabulary_sizes
from perf.records import Record, markdown_table
from perf.sides import Products, our_model
from perf.sizes import Setting, Sizes

_FLOAT = 4
_GB, _MS = 1e9, 1e-3
_TABLE_BYTES = 100e9
_BATCH = 65_536
_RANKS = (8, 64)


@dataclass(frozen=True)
class Work:
    """What is trained.

    Attributes:
        table_bytes: Of the weights of all tables.
        row_numbers: W.
        unique_rows: U.
        batch_rows: Rows of a rank's part of a batch.
        dense_numbers: D.
        flop: Floating-point operations of the matrix products of a row of a batch, both passes.
        row_sparse: Whether a step changes only the rows of the tables that the batch holds.
        bytes_sent: b of rows and gradients.
    """

    table_bytes: float
    row_numbers: int
    unique_rows: float
    batch_rows: float
    dense_numbers: int
    flop: float
    row_sparse: bool
    bytes_sent: int


@dataclass(frozen=True)
class Machines:
    """What it is trained on: by default hosts of eight H100 SXM, and what of their data sheet is reached.

    Attributes:
        per_host: G.
        within: Bytes/s that a GPU sends to others of its host: NVLink 4, 900 GB/s in both directions.
        between: Bytes/s that a GPU sends to other hosts: InfiniBand NDR, 400 Gb/s for each GPU.
        memory: Bytes/s of a GPU's own memory: HBM3.
        products: FLOP/s of matrix products: TF32, dense.
        links_reached: Share of both links' speed that is reached.
        memory_reached: Share of the memory's.
        products_reached: Share of the products'.
        messages: Messages of a step, as counted, with the loop's.
        message_seconds: What each costs in addition to sending its bytes.
        fixed_seconds: Of a step: kernels that are launched one by one, and waits for their counts.
        fixed_bytes: CUDA, NCCL and PyTorch in a GPU's memory.
        activation_bytes: Of a row of a batch at the peak, as measured on a CPU.
    """

    per_host: int = 8
    within: float = 450e9
    between: float = 50e9
    memory: float = 3.35e12
    products: float = 494e12
    links_reached: float = 0.6
    memory_reached: float = 0.7
    products_reached: float = 0.3
    messages: int = 8
    message_seconds: float = 50e-6
    fixed_seconds: float = 8e-3
    fixed_bytes: float = 3e9
    activation_bytes: float = 140e3


class Estimate(NamedTuple):
    """What a rank sends, takes and keeps: bytes per step, seconds of a step, bytes of memory; by part."""

    sent: dict[str, float]
    seconds: dict[str, float]
    memory: dict[str, float]


def estimate(work: Work, ranks: int, machines: Machines = Machines()) -> Estimate:  # noqa: B008
    """Return what a rank of some takes.

    Rows that a rank asks for are spread evenly over all, so that it hands out as many as it asks for. The
    parts of a step follow one another: no message is sent while something is computed. What is summed goes
    round a ring, ``2 (P - 1) / P`` of it, at the speed of the slowest link.
    """
    elsewhere = (ranks - 1) / ranks
    numbers = work.row_numbers * work.unique_rows
    sent = {
        "ids": _FLOAT * work.unique_rows * elsewhere,
        "rows": work.bytes_sent * numbers * elsewhere,
        "gradients": work.bytes_sent * numbers * elsewhere,
        "dense gradients": 2 * _FLOAT * work.dense_numbers * elsewhere,
    }
    within, between = (
        machines.links_reached * link for link in (machines.within, machines.between)
    )
    on_host = min(machines.per_host, ranks)
    near, far = (on_host - 1) / ranks, (ranks - on_host) / ranks
    exchanged = _FLOAT * work.unique_rows + 2 * work.bytes_sent * numbers
    kept = work.table_bytes / ranks / _FLOAT
    seconds = {
        "products": work.batch_rows * work.flop / (machines.products_reached * machines.products),
        "tables": _FLOAT
        * (10 * numbers if work.row_sparse else 10 * kept)
        / (machines.memory_reached * machines.memory),
        "exchange": exchanged * (near / within + far / between),
        "dense gradients": sent["dense gradients"] / (between if far else within),
        "messages": machines.messages * machines.message_seconds,
        "fixed": machines.fixed_seconds,
    }
    memory = {
        "tables": _FLOAT * kept,
        "Adam's state": 2 * _FLOAT * kept,
        "gradients of tables": 0.0 if work.row_sparse else _FLOAT * kept,
        "dense part": 4 * _FLOAT * work.dense_numbers,
        "rows of a batch": 6 * _FLOAT * numbers,
        "activations": machines.activation_bytes * work.batch_rows,
        "fixed": machines.fixed_bytes,
    }
    return Estimate(sent, seconds, memory)


def unique_rows(table_rows: int, fields: int, rows: int, seed: int = 0) -> int:
    """Return how many different rows of the tables a part of a batch looks up, its ids as Zipf has them."""
    sizes = vocabulary_sizes(table_rows, fields)
    columns = draw(sizes, label_names(1), rows, seed)
    return sum(len(np.unique(columns[name])) for name in sizes)


def _workloads(setting: Setting) -> Iterator[tuple[int, str, Work]]:
    """Yield what each number of ranks trains, and in which way."""
    model, products = our_model(setting, True, same_weights=False), Products(setting)
    weights = [tables.table.weight for tables in model.embedding_layer.field_tables()]
    width = weights[0].shape[1]
    dense = sum(p.numel() for p in model.parameters()) - sum(weight.numel() for weight in weights)
    flop = sum(products.operations()) / setting.batch_size
    for ranks in _RANKS:
        part = _BATCH // ranks
        rows = unique_rows(int(_TABLE_BYTES / _FLOAT / width), setting.fields, part)
        for row_sparse, mode in ((False, "exact"), (True, "row-sparse")):
            for size, sent in ((_FLOAT, "fp32"), (2, "bf16")):
                work = Work(_TABLE_BYTES, width, rows, part, dense, flop, row_sparse, size)
                yield ranks, f"{ranks} GPUs, {mode}, rows in {sent}", work


def assumptions(machines: Machines = Machines()) -> list[str]:  # noqa: B008
    """Return what the estimates assume, in addition to the counts, one line each."""
    return [
        f"Hosts of {machines.per_host} GPUs. A GPU sends {machines.within / _GB:g} GB/s to others of its "
        f"host (NVLink) and {machines.between / _GB:g} GB/s to other hosts (InfiniBand); "
        f"{machines.links_reached:.0%} of that is reached. Messages go one after the other, and nothing is "
        "computed meanwhile.",
        f"A GPU's memory moves {machines.memory / 1e12:g} TB/s, of which {machines.memory_reached:.0%} is "
        f"reached, and its matrix products run at {machines.products / 1e12:g} TFLOP/s (TF32), of which "
        f"{machines.products_reached:.0%} is reached.",
        f"Each of the {machines.messages} messages costs {machines.message_seconds / 1e-6:g} us in "
        f"addition to sending its bytes, and launching a step's kernels "
        f"{machines.fixed_seconds / _MS:g} ms.",
        "A step passes ten times over each number of a table that it changes: in the exact mode all that a "
        "rank keeps, with row_sparse those of its batch.",
        f"{machines.fixed_bytes / _GB:g} GB of a GPU are taken by CUDA, NCCL and PyTorch, and each row of "
        f"a batch takes {machines.activation_bytes / 1e3:g} kB. The table rows of a batch are held six "
        "times.",
    ]


def table(sizes: Sizes, sections: list[str]) -> Iterator[Record]:
    """Yield step time, messages and memory of a rank, and add the parts of each as a table."""
    setting = sizes.setting(sizes.table_rows[0])
    head = ["", "sent, MB", *_PARTS, "step, ms", "samples/s", "memory, GB"]
    lines = [head]
    works: dict[int, Work] = {}
    for ranks, name, work in _workloads(setting):
        works[ranks] = work
        estimated = estimate(work, ranks)
        sent, step = sum(estimated.sent.values()) / 1e6, sum(estimated.seconds.values())
        memory = sum(estimated.memory.values()) / _GB
        parts = [f"{estimated.seconds[part] / _MS:.2f}" for part in _PARTS]
        totals = [f"{step / _MS:.1f}", f"{_BATCH / step:,.0f}", f"{memory:.1f}"]
        lines.append([name, f"{sent:.1f}", *parts, *totals])
        yield Record(f"on paper: a rank sends per step, {name}", sent, "MB")
        yield Record(f"on paper: step, {name}", step / _MS, "ms")
        yield Record(f"on paper: memory of a rank, {name}", memory, "GB")
    counts = [
        f"{_TABLE_BYTES / _GB:g} GB of weights in tables, rows of {work.row_numbers} numbers; a batch of "
        f"{_BATCH:,} rows, {work.batch_rows:,} of them for each of {ranks} ranks, which look up "
        f"{work.unique_rows:,} different rows of tables (ids by Zipf's law); {work.dense_numbers:,} dense "
        f"weights, {work.flop / 1e6:.1f} MFLOP of products per row."
        for ranks, work in works.items()
    ]
    assumed = "\n".join(f"- {line}" for line in (*counts, *assumptions()))
    sections.append(f"## On paper\n\n{markdown_table(lines)}\n\nAssumptions:\n\n{assumed}")


_PARTS = ("products", "tables", "exchange", "dense gradients", "messages", "fixed")
