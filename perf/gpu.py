"""Training on one CUDA device: ours against plain, an epoch of TikTok, the card's product floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

import torch

from perf.common import Side, alternate, ratio
from perf.records import Record
from perf.sides import Products, Training
from perf.sizes import Sizes

_TIKTOK_ROWS = 223.4e6
_PRECISIONS = ("tf32", "bf16", "fp32")


def compare(sizes: Sizes) -> Iterator[Record]:
    """Measure row-sparse training in each precision; without a device, say so in each line."""
    rows = sizes.table_rows[min(1, len(sizes.table_rows) - 1)]
    at = f"row-sparse, {rows / 1e6:g}M table rows, one GPU"
    over = f"training samples/s over plain, the faster of TF32 and bf16, {at}"
    epoch = f"an epoch of 223.4M samples from the step's time, the faster of TF32 and bf16, {at}"
    floor = f"share of the card's fp32 product floor, fp32, {at}"
    targets = {over: ("x", ">= 10"), epoch: ("s", "<= 90"), floor: ("%", ">= 60")}
    if not torch.cuda.is_available():
        for what, (unit, target) in targets.items():
            yield Record(what, None, unit, target, f"no CUDA device; PyTorch {torch.__version__}")
        return
    setting = sizes.setting(rows, gpu=0)
    with ExitStack() as stack:
        sides = {
            "plain": stack.enter_context(Side(Training, setting, "plain", False)),
            "floor": stack.enter_context(Side(Products, setting)),
        }
        for precision in _PRECISIONS:
            chosen = replace(setting, network={**setting.network, "precision": precision})
            side = Side(Training, chosen, "row_sparse", True)
            sides[precision] = stack.enter_context(side)
        rounds = alternate(sides, sizes.rounds, "steps", 10 * sizes.steps)
    seconds = {name: [s for s, _ in results[1:]] for name, results in rounds.items()}
    step = {name: median(times) / (10 * sizes.steps) for name, times in seconds.items()}
    fast = min("tf32", "bf16", key=step.__getitem__)
    values = {
        over: ratio(seconds["plain"], seconds[fast]),
        epoch: step[fast] * _TIKTOK_ROWS / setting.batch_size,
        floor: 100 / ratio(seconds["fp32"], seconds["floor"]),
    }
    for what, (unit, target) in targets.items():
        yield Record(what, values[what], unit, target)
    card = torch.cuda.get_device_name(0)
    for name in ("plain", *_PRECISIONS):
        speed = setting.batch_size / step[name]
        yield Record(f"training on {card}, {name}, {at}", speed, "samples/s")
