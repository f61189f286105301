"""Training states of several ranks: one folder as one process writes it, with the rows of all.

So a run continues with any number of ranks, or alone. The first rank decides when it is time, finds the
newest state, writes and reads; the others send and get their rows, so that no other host needs the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fuxictr.pytorch.models import MultiTaskModel

from fuxictr_stem.distributed import gathered_weights
from fuxictr_stem.distributed.gathered_weights import open_from_first
from fuxictr_stem.distributed.messages import receive, send_to
from fuxictr_stem.training import snapshot
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.saving import Position, Saving
from fuxictr_stem.training.weights import shards_of


class RankSaving(Saving):
    """A `Saving` of several ranks: each has one, and calls the same methods after the same step.

    Settings and versions are those of the first rank.
    """

    _awaited = False  # whether the others wait to send their rows

    def save(
        self,
        model: MultiTaskModel,
        train: Position,
        progress: Mapping[str, Any],
        finished: bool = False,
    ) -> bool:
        """Save a state; as `Saving.save`, with the same result on each rank."""
        if self._ranks.is_first:
            self._awaited = True
            saved = super().save(model, train, progress, finished)
            if self._awaited:
                # The folder could not be made: no rank needs to send.
                self._ranks.from_first(lambda: False)
            return bool(self._ranks.from_first(lambda: saved))
        if self._ranks.from_first(bool):
            send_to(snapshot.generator(model).get_state(), 0)
            gathered_weights.send(model.state_dict(), shards_of(model))
            tensors, _ = snapshot.state(model)
            gathered_weights.send(tensors, snapshot.optimizer_shards(model, tensors))
        return bool(self._ranks.from_first(bool))

    def _by_clock(self) -> bool:
        # The first rank's clock counts; what it wants is known to all after the next step.
        wished = self._ranks.wished
        self._ranks.wish = self._ranks.is_first and not wished and super()._by_clock()
        return wished

    def _read(self, model: MultiTaskModel, folder: Path, content: dict[str, Any]) -> None:
        if self._ranks.is_first:
            snapshot.put_best_back(model, folder, content)
        snapshot.read(model, folder, content, partial(open_from_first, self._ranks))
        if snapshot.TENSORS in content["files"]:
            self._set_random(model, folder / snapshot.TENSORS)

    def _write(self, model: MultiTaskModel, folder: Path, finished: bool) -> dict[str, Any]:
        snapshot.copy_best(model, folder)
        if finished:
            return {}
        self._awaited = False
        self._ranks.from_first(lambda: True)
        tensors, content = snapshot.state(model)
        for number in range(1, self._ranks.count):
            random = torch.empty_like(snapshot.generator(model).get_state())
            receive(random, number)
            tensors[self._random_name(number)] = random
        try:
            weights = model.state_dict()
            gathered_weights.write(weights, shards_of(model), folder / snapshot.WEIGHTS)
        finally:
            # Whatever has become of the weights, the others send these, too.
            shards = snapshot.optimizer_shards(model, tensors)
            gathered_weights.write(tensors, shards, folder / snapshot.TENSORS)
        return content

    def _random_name(self, number: int) -> str:
        return f"{snapshot.OF_RANKS}random.{number} of {self._ranks.count}"

    def _set_random(self, model: MultiTaskModel, path: Path) -> None:
        """Have each rank continue with its random numbers, or with new ones if there were fewer or more."""
        names = [self._random_name(number) for number in range(1, self._ranks.count)]
        with open_from_first(self._ranks, path) as file:
            there = [name for name in names if name in file.shapes]
            states = {name: torch.empty(file.shapes[name], dtype=torch.uint8) for name in there}
            file.copy_into(states, {})
        if self._ranks.is_first:
            return
        if states:
            state = states[self._random_name(self._ranks.number)]
            snapshot.generator(model).set_state(state)
        else:
            torch.manual_seed(model._total_steps * self._ranks.count + self._ranks.number)


def make_saving(ranks: Ranks, *args: Any, **more: Any) -> Saving:
    """Return a `Saving` of a process that is alone, or of one among others; arguments as of that."""
    more["ranks"] = ranks
    return Saving(*args, **more) if ranks.count == 1 else RankSaving(*args, **more)
