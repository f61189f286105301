"""The processes that train a model together, as training sees them; `distributed` runs several.

Symbols: T tasks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from fuxictr_stem.runtime.group import ALONE, Group
from fuxictr_stem.training.evaluation import Batches, Predictions


class Ranks(Group):
    """One process: its part is the whole."""

    host: Group = ALONE  # the ranks of this machine
    wish = False  # whether this process wants something done after the next step
    wished = False  # whether any has wanted that before `any_signal`

    @property
    def name(self) -> str:
        """What this process is called in messages, with its host."""
        return f"rank {self.number} of {self.count} (counted from 0, on {socket.gethostname()})"

    def device(self, gpu: int) -> int:
        """Return the CUDA device of this process, where the first of a host has ``gpu``; -1 is the CPU."""
        return gpu if gpu < 0 else gpu + self.host.number

    def any_signal(self, noted: int | None) -> int | None:
        """Return the signal that any process has got, if one has; all ask at the same moment."""
        return noted

    def gather(self, part: Predictions, batches: Batches) -> Predictions:
        """Return the predictions of a whole split to the first process; to the others their part."""
        return part


@dataclass
class BatchShare:
    """A process' part of a batch that several processes train on."""

    weights_T: Tensor  # sum of the weights of each task's samples in the whole batch, (T,)
    rows: Tensor  # sum of the weights of its rows
    # Whether this process adds what is added once: penalties, and what no row decides.
    is_first: bool
    add_up: Callable[[list[Tensor]], None]  # replaces tensors by their sums over the processes
    losses_T: Tensor | None = None  # what this part adds to each task's mean loss; from the model
