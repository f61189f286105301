"""How ranks find each other: by the store of keys that `torchrun` keeps for them.

The store outlives the ranks: those that torchrun starts again meet the keys of those before them, and on
several hosts no variable counts the attempts alike. So the first rank makes up a name for each attempt, and
hands it to those that are there now. After a user's mistake, later ones exit silently.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

from torch import distributed

from fuxictr_stem.distributed.messages import RankLost, lost_ranks
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.runtime import signals
from fuxictr_stem.runtime.guarded import LOST_RANK_GOES_ON

STORE_TIMEOUT = timedelta(minutes=1)
"""How long a rank tries to reach the store of torchrun, which was there before it."""

MISTAKE = "mistake"
"""A key that is set once a rank has ended because of a mistake in configs, arguments or data."""

_POLL_SECONDS = 0.05


class Keys:
    """PyTorch's store of keys; `RankLost` if it is gone."""

    def __init__(self, store: distributed.Store) -> None:
        self._store = store

    def set(self, key: str, value: str) -> None:
        """Set a key."""
        with lost_ranks():
            self._store.set(key, value)

    def get(self, key: str) -> bytes:
        """Return the value of a key that is there."""
        with lost_ranks():
            return bytes(self._store.get(key))

    def check(self, keys: Sequence[str]) -> bool:
        """Say whether keys are there."""
        with lost_ranks():
            return bool(self._store.check(list(keys)))

    def add(self, key: str, amount: int) -> int:
        """Add to a number, and return the sum."""
        with lost_ranks():
            return int(self._store.add(key, amount))


def torchrun_keeps_store() -> bool:
    """Say whether `torchrun` keeps the store, not the first rank."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def meet(timeout: timedelta) -> tuple[distributed.PrefixStore, int, int]:
    """Wait until all ranks are there, for a limited time.

    Returns:
        A store for keys of these ranks alone; this rank's number; how many there are.

    Raises:
        TrainingError: A rank did not come in time, or the store is gone.
        SystemExit: The same, if another rank reports it; or earlier ranks ended because of a mistake.
    """
    number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with signals.silent(number > 0):
        try:
            with lost_ranks():
                patience = timeout
                if torchrun_keeps_store():
                    _check_there()
                    patience = STORE_TIMEOUT
                store, *_ = next(distributed.rendezvous("env://", timeout=patience))
                store.set_timeout(timeout)
            if Keys(store).check([MISTAKE]):
                raise SystemExit(2)
            end = time.monotonic() + timeout.total_seconds()
            attempt = (
                _follow(Keys(store), number, end) if number else _lead(Keys(store), count, end)
            )
        except RankLost as error:
            raise store_lost(number, error) from None
        except _Missing as missing:
            if number != (1 if missing.numbers == [0] else 0):
                raise SystemExit(2) from None
            minutes = timeout.total_seconds() / 60
            raise TrainingError(
                f"{names_of(missing.numbers, count)} did not start within {minutes:g} minutes. "
                "See what that process printed, and start all of them again."
            ) from None
    return distributed.PrefixStore(attempt, store), number, count


def _check_there() -> None:
    """Find out at once whether torchrun is gone: PyTorch would try to reach its store for two minutes."""
    try:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        socket.create_connection(place, timeout=5).close()
    except ConnectionRefusedError as error:
        raise RankLost(str(error)) from error
    except OSError:
        pass  # PyTorch has more patience


class _Missing(Exception):
    """Ranks have not come in time."""

    def __init__(self, numbers: list[int]) -> None:
        super().__init__()
        self.numbers = numbers


def _lead(keys: Keys, count: int, end: float) -> str:
    """Name the attempt, and tell the others that name, until each has it."""
    name = uuid.uuid4().hex
    missing = list(range(1, count))
    while True:
        for number in missing:
            # It may be an earlier rank's, until that of this attempt replaces it.
            if keys.check([f"here/{number}"]):
                keys.set(f"welcome/{keys.get(f'here/{number}').decode()}", name)
        missing = [number for number in missing if not keys.check([f"{name}/joined/{number}"])]
        if not missing:
            keys.set(f"{name}/all", "")
            return name
        _pause(end, missing)


def _follow(keys: Keys, number: int, end: float) -> str:
    """Wait for the first rank's name of the attempt, then until all have it."""
    me = uuid.uuid4().hex
    keys.set(f"here/{number}", me)
    while not keys.check([f"welcome/{me}"]):
        _pause(end, [0])
    name = keys.get(f"welcome/{me}").decode()
    keys.set(f"{name}/joined/{number}", "")
    while not keys.check([f"{name}/all"]):
        # The first rank has more to say.
        _pause(end + 10, [])
    return name


def _pause(end: float, missing: list[int]) -> None:
    if time.monotonic() > end:
        raise _Missing(missing)
    time.sleep(_POLL_SECONDS)


def store_lost(number: int, error: RankLost, advice: str = LOST_RANK_GOES_ON) -> BaseException:
    """Return what a rank that has lost the store raises: an error on one per host, else a silent exit."""
    at_torchrun = torchrun_keeps_store()
    if not (os.environ.get("LOCAL_RANK") == "0" if at_torchrun else number == 1):
        return SystemExit(2)
    who = "torchrun, which has started this process," if at_torchrun else "The first rank"
    return TrainingError(
        f"{who} has ended, or cannot be reached, so the run has ended. {advice} ({error})"
    )


def names_of(numbers: Sequence[int], count: int) -> str:
    """Return what a message calls some ranks."""
    return f"Rank {' and '.join(map(str, numbers))} of {count} (counted from 0)"
