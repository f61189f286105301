"""The gates' mean weights over a validation, from the weights that the model computes there anyway.

Symbols: Q gates, E experts, B batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fuxictr_stem.layers import GateBank


def figure_name(*parts: str) -> str:
    """Return the name of a figure that every tracker takes, of parts of any text.

    Example:
        >>> figure_name("gate", "layer 1", "like", "shared.2")
        'gate/layer_1/like/shared.2'
    """
    return "/".join(re.sub(r"[^\w.-]", "_", part) for part in parts)


@dataclass(frozen=True)
class NamedGates:
    """The gates of a place of a model, and what they and their experts are called.

    Attributes:
        place: The place, such as ``layer 1``.
        bank: The gates.
        gates: Whose each gate is, Q.
        experts: Names of the experts, E.
    """

    place: str
    bank: GateBank
    gates: Sequence[str]
    experts: Sequence[str]

    @contextmanager
    def watched(self) -> Iterator[GateSums]:
        """Yield the sums of the weights that the model computes meanwhile."""
        sums = GateSums()
        self.bank.watch = sums.add
        try:
            yield sums
        finally:
            self.bank.watch = None

    def figures(self, sums: GateSums) -> Iterator[tuple[str, float]]:
        """Yield the mean weight of each expert that a gate reads; nothing where no row came by."""
        if sums.sums_QE is None:
            return
        means = (sums.sums_QE / sums.rows).tolist()
        for gate, reads, row in zip(self.gates, self.bank.reads, means, strict=True):
            for expert in reads:
                yield figure_name("gate", self.place, gate, self.experts[expert]), row[expert]


class GateSums:
    """Sums of gate weights over rows, on the model's device."""

    def __init__(self) -> None:
        self.sums_QE: Tensor | None = None
        self.rows = 0

    def add(self, weights_QBE: Tensor) -> None:
        """Add those of a batch."""
        sums_QE = weights_QBE.detach().sum(dim=1, dtype=torch.float64)
        self.sums_QE = sums_QE if self.sums_QE is None else self.sums_QE + sums_QE
        self.rows += weights_QBE.shape[1]
