"""A group of processes that work together, as one of them sees it; `distributed` has several."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Member:
    """One of several processes, and what of their work falls to it; by default it is alone.

    Example:
        >>> [Member(number, 3).share_of(8) for number in range(3)]
        [(0, 2), (2, 5), (5, 8)]
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number = number  # of this process, from 0
        self.count = count  # how many there are

    def share_of(self, count: int) -> tuple[int, int]:
        """Return the first of some things that fall to this process, and the one after the last."""
        return count * self.number // self.count, count * (self.number + 1) // self.count


class Group(Member):
    """A process that is alone. All processes of a group call the same methods in the same order."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that does what is done once."""
        return self.number == 0

    def from_first(self, work: Callable[[], Any]) -> Any:
        """Return what some work of the first process returns, JSON; the others wait for it."""
        return work()

    def after_first(self, work: Callable[[], Result]) -> Result:
        """Do some work on each process, on the others when the first is done with it."""
        return self._in_turns(work, self.is_first)

    def before_first(self, work: Callable[[], Result]) -> Result:
        """Do some work on each process, on the first when the others are done with it."""
        return self._in_turns(work, not self.is_first)

    def _in_turns(self, work: Callable[[], Result], is_early: bool) -> Result:
        if not is_early:
            self.exchange(None)
        result = work()
        if is_early:
            self.exchange(None)
        return result

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all processes, JSON, by their numbers; each waits for all others."""
        return [value]


ALONE = Group()
"""This process without any other."""


def started_by_torchrun() -> bool:
    """Say whether `torchrun` has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Say whether this process speaks for all that `torchrun` has started."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"
