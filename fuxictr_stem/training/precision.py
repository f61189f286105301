"""In which precision a step's matrix products run, and rows of tables travel between processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fuxictr_stem.errors import Problem, choice_problems

PRECISIONS = FP32, TF32, BF16 = ("fp32", "tf32", "bf16")
FP16 = "fp16"
EXCHANGE_PRECISIONS = (FP32, BF16, FP16)


def precision_problems(precision: str, device: torch.device) -> Iterator[Problem]:
    """Yield why a device does not have a precision: it is unknown, or TF32 away from a CUDA device."""
    yield from choice_problems("precision", precision, PRECISIONS)
    if precision == TF32 and device.type != "cuda":
        text = f"tf32 is a format of CUDA devices, and this run is on the {device.type}."
        yield Problem("precision", text, "Give the device by --gpu, or set precision: fp32.")


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Have float32 products on CUDA devices run in TF32 where that is the precision, and only then.

    It is a setting of the process: what was set before comes back. ``bf16`` is up to `autocast`.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = precision == TF32
    try:
        yield
    finally:
        matmul.allow_tf32 = before


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a forward pass: with ``bf16``, products are in bfloat16, weights in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == BF16)


def widen(x: Tensor) -> Tensor:
    """Return what a forward pass gives in bfloat16 as float32, in which probabilities and losses are."""
    return x.float() if x.dtype == torch.bfloat16 else x
