"""The sides that are several processes: what one takes in memory, sends, and how long its steps are."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import Tensor, distributed
from torch.utils._python_dispatch import TorchDispatchMode

from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.distributed.rank_saving import make_saving
from fuxictr_stem.distributed.session import run_on_ranks
from fuxictr_stem.distributed.split_model import split_tables
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.runtime.group import Member
from fuxictr_stem.runtime.memory import keep_freed_memory
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.trainer import Trainer
from perf.common import timed, unshared_memory
from perf.data import batches, label_names
from perf.sides import our_model
from perf.sizes import Setting

SAMPLE_SECONDS = 0.02
"""Between two looks at a process' memory."""

_LOST_AFTER = timedelta(minutes=10)


class Messages(NamedTuple):
    """What a process sends to the others in a step.

    Attributes:
        number: Messages that all take part in.
        ids: Bytes of the numbers of rows, and of how many there are.
        rows: Bytes of rows and of their gradients.
        summed: Bytes of what is summed over all, once; how often they travel is up to the library.
    """

    number: int
    ids: int
    rows: int
    summed: int


class CountMessages(TorchDispatchMode):
    """Counts what this process sends to others, as PyTorch is asked to send it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Messages(0, 0, 0, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        number, ids, rows, summed = self.total
        if func is torch.ops.c10d.alltoall_base_.default:
            _, sent, _, _, sizes, *_ = args
            elsewhere = sum(sizes) - sizes[distributed.get_rank()]
            size = elsewhere * sent.element_size()
            is_rows = sent.is_floating_point()
            self.total = Messages(
                number + 1, ids + size * (not is_rows), rows + size * is_rows, summed
            )
        elif func is torch.ops.c10d.allreduce_.default:
            summed += sum(tensor.nbytes for tensor in args[0])
            self.total = Messages(number + 1, ids, rows, summed)
        elif func.namespace == "c10d":
            raise AssertionError(f"a step sends by {func}, which is not counted")
        return func(*args, **(kwargs or {}))


class Rank:
    """A process that takes training steps on its part of batches from memory.

    Args:
        setting: The setting; its batches are those of all processes.
        row_sparse: Whether a step changes only the rows of the tables that the batch holds.
        part: Which process it is; where there are others, it has joined them.
        threads: Of PyTorch.
    """

    def __init__(self, setting: Setting, row_sparse: bool, part: Member, threads: int) -> None:
        torch.set_num_threads(threads)
        keep_freed_memory()
        self._setting, self._row_sparse, self._part = setting, row_sparse, part
        self._model = _model(setting, row_sparse, _ranks(part))
        self._model.train()
        self._steps_done = 0

    def steps(self, count: int) -> float:
        """Take the next steps; return their seconds."""
        work = self._parts(self._setting, count)
        self._steps_done += count
        if self._part.count > 1:
            distributed.barrier()
        return timed(lambda: [self._model.train_step(batch).item() for batch in work])[0]

    def messages(self, batch_size: int, exchange_precision: str) -> Messages:
        """Return what a step on a batch of some rows sends."""
        split_tables(self._model, _ranks(self._part), exchange_precision)
        (batch,) = self._parts(replace(self._setting, batch_size=batch_size), 1)
        with CountMessages() as counted:
            self._model.train_step(batch)
        return counted.total

    def _parts(self, setting: Setting, count: int) -> list[dict[str, Tensor]]:
        begin, end = self._part.share_of(setting.batch_size)
        whole = batches(setting, count, setting.seed + self._steps_done)
        return [{name: x[begin:end] for name, x in batch.items()} for batch in whole]


def joined(store: Path, setting: Setting, row_sparse: bool, part: Member, threads: int) -> Rank:
    """Return a `Rank` that has joined the others, which all use one file, ``store``."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=part.number,
        world_size=part.count,
        timeout=_LOST_AFTER,
    )
    return Rank(setting, row_sparse, part, threads)


def _ranks(part: Member) -> Ranks:
    ranks = Ranks()
    ranks.number, ranks.count = part.number, part.count
    return ranks


def _model(setting: Setting, row_sparse: bool, ranks: Ranks) -> MultiTaskModel:
    if ranks.count == 1:
        return our_model(setting, row_sparse, same_weights=False)
    with rows_split(ranks.number, ranks.count):
        model = our_model(setting, row_sparse, same_weights=False)
    split_tables(model, ranks, FP32)
    return model


class PeakMemory:
    """The peak of this process' own memory while the context lasts, by fifty looks a second.

    Attributes:
        before: Bytes when it began.
        peak: The most bytes so far.
    """

    def __init__(self) -> None:
        self.before = self.peak = unshared_memory()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Begin."""
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, unshared_memory())


class MemoryOfRank:
    """A process that trains as the runner has it: an epoch, a state within, an evaluation, best weights.

    Args:
        setting: The setting.
        folder: Holds the splits, and gets what a run writes.
        part: Which process it is.
        port: Where the first process has the store of their keys.
    """

    def __init__(self, setting: Setting, folder: Path, part: Member, port: int) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        network = {**setting.network, "model_root": str(folder)}
        self._setting = replace(setting, network=network)
        self._folder, self._part = folder, part
        if part.count > 1:
            # As torchrun does.
            os.environ |= {"RANK": str(part.number), "WORLD_SIZE": str(part.count)}
            os.environ |= {"LOCAL_RANK": str(part.number), "LOCAL_WORLD_SIZE": str(part.count)}
            os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}

    def run(self) -> tuple[int, int]:
        """Train; return the memory before and at its peak, in bytes."""
        with PeakMemory() as memory:
            run_on_ranks(self._train)
        return memory.before, memory.peak

    def _train(self, ranks: Ranks) -> None:
        model, folder = _model(self._setting, False, ranks), self._folder
        train, valid = (
            H5Loader(
                model.feature_map,
                folder / f"{split}.h5",
                split=split,
                batch_size=self._setting.batch_size,
                shuffle=split == "train",
                member=self._part,
                host=ranks.host,
            )
            for split in ("train", "valid")
        )
        half = max(len(train) // 2, 1)
        saving = make_saving(ranks, folder / "states", {}, _any, {}, steps=half, kept=1)
        tasks = dict.fromkeys(label_names(self._setting.tasks), "binary_classification")
        Trainer(model, tasks, ranks=ranks).fit(train, valid, 1, saving)


def _any(*settings: object) -> None:
    """Accept the settings of any state."""
