"""The ranks of a run: how they find each other, wait for each other, and end together.

`torchrun` starts the ranks and keeps a store of keys for them. Next to `torch.distributed` the ranks use it
to wait for the first one, however long its work takes, and to agree on who of them says why the run ends.
Each writes a beat there every second: a rank without one has died or hangs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.data.loading.order import rows_of_share
from fuxictr_stem.distributed.messages import RankLost, highest, lost_ranks, receive, send_to
from fuxictr_stem.distributed.rendezvous import MISTAKE, Keys, meet, names_of, store_lost
from fuxictr_stem.errors import ConfigError, DataError, Stopped, TrainingError
from fuxictr_stem.runtime import signals
from fuxictr_stem.runtime.group import Group, Member, started_by_torchrun
from fuxictr_stem.runtime.guarded import LOST_RANK_GOES_ON
from fuxictr_stem.training.evaluation import Predictions
from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)

TIMEOUT = timedelta(minutes=10)
"""How long ranks wait for one that does not answer."""

_BEAT_SECONDS = 1.0
_POLL_SECONDS = 0.02

Result = TypeVar("Result")


def run_on_ranks(
    work: Callable[[Ranks], Result], advice: str = LOST_RANK_GOES_ON, gpu: int = -1
) -> Result:
    """Do some work on all ranks that `torchrun` has started, or in this process alone.

    Only the first rank logs. Where the work fails on a rank, or one is lost, all end; one of them raises
    the error, the others exit silently.

    Args:
        work: The work.
        advice: How to continue when a rank is lost.
        gpu: -1 where all is done on the CPU.

    Raises:
        TrainingError: A rank was lost.
        SystemExit: Another rank says why the run ends.
    """
    if not started_by_torchrun():
        return work(Ranks())
    ranks = _join(_backend(gpu))
    try:
        with ranks:
            # A rank that has only a mistake to report would leave while others still connect to it.
            ranks.exchange(None)
            return work(ranks)
    except BaseException as error:
        ending = ranks.ending(error, advice)
    # Raised out here, so that the error it replaces is not its context.
    raise ending


def _backend(gpu: int) -> str:
    """Return what carries messages: gloo on the host, NCCL between CUDA devices, if there are any."""
    on_devices = gpu >= 0 and torch.cuda.is_available() and distributed.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if on_devices else "gloo"


def _join(backend: str) -> TorchRanks:
    """Find the other ranks."""
    store, number, count = meet(TIMEOUT)
    messages = distributed.PrefixStore("messages", store)
    with lost_ranks():
        distributed.init_process_group(
            backend, store=messages, rank=number, world_size=count, timeout=TIMEOUT
        )
    place, here = os.environ.get("LOCAL_RANK", "0"), os.environ.get("LOCAL_WORLD_SIZE", "1")
    ranks = TorchRanks(Keys(store), number, count, int(place), int(here))
    ranks.lasting = Keys(store.underlying_store)
    return ranks


class StoreGroup(Group):
    """Some ranks that wait for each other by a store of keys; among all, they follow the ``first``."""

    def __init__(self, store: Keys, name: str, number: int, count: int, first: int = 0) -> None:
        super().__init__(number, count)
        self._store, self._name, self._start = store, name, first
        self._waits = 0

    def from_first(self, work: Callable[[], Any]) -> Any:
        """Return what some work of the first rank returns, JSON; the others wait for it."""
        key = self._next_key()
        if self.is_first:
            self._store.set(key, json.dumps(work()))
        return self._wait(key, 0)

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all ranks, JSON, by their numbers; each waits for all others."""
        key = self._next_key()
        self._store.set(f"{key}/{self.number}", json.dumps(value))
        return [self._wait(f"{key}/{number}", number) for number in range(self.count)]

    def _next_key(self) -> str:
        self._waits += 1
        return f"{self._name}/{self._waits}"

    def _wait(self, key: str, number: int) -> Any:
        """Return the value that a rank of the group sets a key to, however long its work takes."""
        rank = self._start + number
        beat, since = "", time.monotonic()
        while not self._store.check([key]):
            if self._store.check(["ended"]):
                raise RankLost("Another rank has ended the run.")
            beat, last = self._beat_of(rank), beat
            if beat != last:
                since = time.monotonic()
            elif time.monotonic() - since > TIMEOUT.total_seconds():
                raise RankLost(f"Rank {rank} does not answer.")
            time.sleep(_POLL_SECONDS)
        return json.loads(self._store.get(key))

    def _beat_of(self, rank: int) -> str:
        key = f"beat/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else ""


class TorchRanks(StoreGroup, Ranks):
    """The ranks that `torchrun` has started. A context manager.

    ``place`` is this rank's number on its host, which has ``here`` ranks.
    """

    def __init__(self, store: Keys, number: int, count: int, place: int = 0, here: int = 1) -> None:
        super().__init__(store, "all", number, count)
        self.lasting = store  # also seen by the ranks that torchrun starts later
        # torchrun numbers ranks host by host.
        start = number - place
        self.host = StoreGroup(store, f"host of {start}", place, here, start)
        self._store_gone = False
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> TorchRanks:
        if not self.is_first:
            logging.disable()
        self._heart.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # After an error the others need to know first: see `ending`.
        if error is None:
            self._over.set()
            self._heart.join()
            distributed.destroy_process_group()

    def device(self, gpu: int) -> int:
        """Return the CUDA device of this rank, which is PyTorch's from now on; -1 is the CPU.

        Raises:
            ConfigError: PyTorch has no NCCL.
        """
        number = super().device(gpu)
        if number >= 0:
            if not distributed.is_nccl_available():
                raise ConfigError(
                    f"--gpu {gpu}: several processes need NCCL, which PyTorch {torch.__version__} lacks. "
                    "Leave --gpu out to run on the CPU."
                )
            torch.cuda.set_device(number)
            logger.warning(
                "--gpu with several processes has not been tried on GPUs yet: compare a short run with one "
                "of a single process first."
            )
        return number

    def any_signal(self, noted: int | None) -> int | None:
        """Return the signal that any rank has got, if one has; and note whether one has a wish."""
        numbers = torch.tensor([noted or 0, self.wish, self._store_gone])
        highest(numbers)
        signal, wished, store_gone = numbers.tolist()
        if store_gone:
            raise RankLost("torchrun does not answer.")
        self.wished = bool(wished)
        return signal or None

    def gather(self, part: Predictions, batches: Any) -> Predictions:
        """Return the predictions of a whole split to the first rank; to the others their part."""
        assert isinstance(batches, H5Loader)
        rows, batch_size = batches.num_samples, batches.batch_size

        def of_all(mine: np.ndarray) -> np.ndarray:
            """Return a column, or rows of them, of the whole split on the first rank."""
            column = torch.from_numpy(mine)
            if not self.is_first:
                send_to(column, 0)
                return mine
            whole = column.new_empty(*column.shape[:-1], rows)
            for number in range(self.count):
                places = rows_of_share(Member(number, self.count), rows, batch_size)
                if number:
                    column = column.new_empty(*column.shape[:-1], len(places))
                    receive(column, number)
                whole[..., torch.from_numpy(places)] = column
            return whole.numpy()

        columns = iter(of_all(np.stack([*part.y_true.values(), *part.y_pred.values()])))
        true, pred = ({label: next(columns) for label in names} for names in part[:2])
        return Predictions(true, pred, None if part.group_id is None else of_all(part.group_id))

    def ending(self, error: BaseException, advice: str = "") -> BaseException:
        """Return what this rank raises after an error: that, the loss of a rank, or a silent exit."""
        # torchrun ends all ranks when it sees that one has ended; this one may have more to say.
        signals.ignore()
        code = 128 + error.signal if isinstance(error, Stopped) else 2
        try:
            self._store.set(f"left/{self.number}", "")
            if self._store.add("ended", 1) > 1:
                return SystemExit(code)
            lost = self._lost() if isinstance(error, (RankLost, Stopped)) else []
            if isinstance(error, (ConfigError, DataError)):
                self.lasting.set(MISTAKE, "")
        except RankLost as gone:
            return store_lost(self.number, gone, advice)
        finally:
            self._over.set()
        if lost or isinstance(error, RankLost):
            return _loss(lost, self.count, error, advice)
        return error

    def _lost(self) -> list[int]:
        """Return the ranks that have neither ended by themselves nor shown life in the last seconds."""
        others = [number for number in range(self.count) if number != self.number]
        before = [self._beat_of(number) for number in others]
        for _ in range(4):
            time.sleep(_BEAT_SECONDS)
            pairs = zip(others, before, strict=True)
            lost = [
                number
                for number, beat in pairs
                if self._beat_of(number) == beat and not self._store.check([f"left/{number}"])
            ]
            if not lost:
                break
        return lost

    def _beat(self) -> None:
        beats = 0
        while True:
            beats += 1
            try:
                self._store.set(f"beat/{self.number}", str(beats))
            except RankLost:
                # Known to all after the next step.
                self._store_gone = True
                return
            if self._over.wait(_BEAT_SECONDS):
                return


def _loss(lost: list[int], count: int, error: BaseException, advice: str) -> TrainingError:
    who = names_of(lost, count) if lost else f"One of the {count} ranks"
    minutes = TIMEOUT.total_seconds() / 60
    return TrainingError(
        f"{who} has ended without a message, or did not answer for up to {minutes:g} minutes, so the run "
        f"has ended. Common reasons: no memory is left, or the network is down. {advice} ({error})"
    )
