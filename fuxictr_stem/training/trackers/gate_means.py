"""The gates' mean weights over a validation, from the weights that the model computes there anyway.

Symbols: Q gates, E experts, B batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
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


@dataclass(frozen=True, eq=False)
class NamedGates:
    """The gates of a place of a model, and what they and their experts are called."""

    name: str  # of the place, such as ``layer 1``
    bank: GateBank
    gates: list[str]  # whose each is: a label, ``shared``, or ``all`` where there is only one, Q
    experts: list[str]  # names of the experts, E

    def reads(self) -> np.ndarray:
        """Return whether each gate reads each expert, (Q, E)."""
        reads = np.zeros((len(self.gates), len(self.experts)), bool)
        for row, slots in zip(reads, self.bank.reads, strict=True):
            row[slots] = True
        return reads

    @contextmanager
    def watched(self, see: Callable[[Tensor], None]) -> Iterator[None]:
        """Have a function see the weights, (Q, B, E), that the model computes meanwhile."""
        self.bank.watch = see
        try:
            yield
        finally:
            self.bank.watch = None


class GateSums:
    """Sums of gate weights over rows, on the model's device."""

    def __init__(self, gates: NamedGates) -> None:
        self._gates = gates
        self._sums_QE: Tensor | None = None
        self._rows = 0

    def add(self, weights_QBE: Tensor) -> None:
        """Add those of a batch."""
        sums_QE = weights_QBE.detach().sum(dim=1, dtype=torch.float64)
        self._sums_QE = sums_QE if self._sums_QE is None else self._sums_QE + sums_QE
        self._rows += weights_QBE.shape[1]

    def figures(self) -> Iterator[tuple[str, float]]:
        """Yield the mean weight of each expert that a gate reads; nothing where no row came by."""
        if self._sums_QE is None:
            return
        means, place = (self._sums_QE / self._rows).tolist(), self._gates
        for gate, reads, row in zip(place.gates, place.bank.reads, means, strict=True):
            for expert in reads:
                yield figure_name("gate", place.name, gate, place.experts[expert]), row[expert]
