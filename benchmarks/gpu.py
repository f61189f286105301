"""Training on one CUDA device: ours beside plain, an epoch of TikTok, the card's product floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import torch

from benchmarks.common import Side, alternate, ratio
from benchmarks.records import Record
from benchmarks.sides import Products, Training
from benchmarks.sizes import Sizes

_TIKTOK_ROWS = 223.4e6


def compare(sizes: Sizes) -> Iterator[Record]:
    """Measure row-sparse training in exact fp32; without a device, say so in each line."""
    rows = sizes.table_rows[min(1, len(sizes.table_rows) - 1)]
    at = f"row-sparse, {rows / 1e6:g}M table rows, one GPU"
    # There is no TF32 or bf16 to choose yet; exact fp32 stands in, which is slower.
    over = f"training samples/s over plain, fp32 (no TF32 or bf16 yet), {at}"
    epoch = f"an epoch of 223.4M samples, fp32 (no TF32 or bf16 yet), {at}"
    floor = f"share of the card's fp32 product floor, {at}"
    targets = {over: ("x", ">= 10"), epoch: ("s", "<= 90"), floor: ("%", ">= 60")}
    if not torch.cuda.is_available():
        for what, (unit, target) in targets.items():
            yield Record(what, None, unit, target, f"no CUDA device; PyTorch {torch.__version__}")
        return
    setting = sizes.setting(rows, gpu=0)
    with ExitStack() as stack:
        sides = {
            "plain": stack.enter_context(Side(Training, setting, "plain", False)),
            "ours": stack.enter_context(Side(Training, setting, "row_sparse", True)),
            "floor": stack.enter_context(Side(Products, setting)),
        }
        rounds = alternate(sides, sizes.rounds, "steps", 10 * sizes.steps)
    seconds = {name: [taken for taken, _ in found[1:]] for name, found in rounds.items()}
    step = median(seconds["ours"]) / (10 * sizes.steps)
    values = {
        over: ratio(seconds["plain"], seconds["ours"]),
        epoch: step * _TIKTOK_ROWS / setting.batch_size,
        floor: 100 / ratio(seconds["ours"], seconds["floor"]),
    }
    for what, (unit, target) in targets.items():
        yield Record(what, values[what], unit, target)
    card = torch.cuda.get_device_name(0)
    yield Record(f"training on {card}, fp32, {at}", setting.batch_size / step, "samples/s")
