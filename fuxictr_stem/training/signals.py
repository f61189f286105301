"""Ctrl-C, SIGTERM and SIGHUP while training: the step that runs is finished first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from fuxictr_stem.interrupts import HANGUP, check, heeded

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class _AtOnce(BaseException):
    """Leaves work that may be left at any place."""


class StopRequest:
    """Whether somebody wants the process to stop.

    Attributes:
        signal: The signal that said so, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interruptible = False

    def note(self, number: int) -> None:
        """Take note of a signal."""
        self.signal = number
        if self._interruptible:
            raise _AtOnce

    def or_stop(self, work: Callable[[], Result]) -> Result | None:
        """Do some work, but leave it as soon as a signal comes; it must change nothing that is saved.

        Returns:
            What the work returns; None if it was left.
        """
        try:
            self._interruptible = True
            try:
                return work()
            finally:
                self._interruptible = False
        except _AtOnce:
            return None


@contextmanager
def stop_requests(enabled: bool) -> Iterator[StopRequest]:
    """Take note of Ctrl-C, SIGTERM and SIGHUP instead of obeying at once.

    A second one is obeyed, but for SIGHUP: a terminal that is closed sends several.

    Args:
        enabled: Whether to do anything; signals are also left alone outside the main thread.
    """
    check()
    request = StopRequest()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield request
        return
    names = heeded()
    before = {number: signal.getsignal(number) for number in names}

    def restore(but: int | None = None) -> None:
        for number, handler in before.items():
            if number != but:
                signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            return
        restore(but=HANGUP)
        logger.info("%s: the run saves its state and stops; again stops at once.", names[number])
        request.note(number)

    for number in names:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
