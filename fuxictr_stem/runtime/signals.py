"""Ctrl-C, SIGTERM and SIGHUP: obeyed at once, or in training after the step that runs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGHUP, SIGINT, SIGTERM
from types import FrameType
from typing import TypeVar

from fuxictr_stem.errors import Stopped

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_NAMES: dict[int, str] = {SIGINT: "Ctrl-C", SIGTERM: "SIGTERM", SIGHUP: "SIGHUP"}

_pending: list[Stopped] = []


def stop_signals() -> dict[int, str]:
    """Return the signals that stop a run, with their names; not a SIGHUP that nohup wants ignored."""
    ignored = signal.getsignal(SIGHUP) is signal.SIG_IGN
    return {number: name for number, name in _NAMES.items() if number != SIGHUP or not ignored}


@contextmanager
def obeyed(advice: str) -> Iterator[None]:
    """Raise `Stopped` at a signal, with advice on how to continue; outside the main thread do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if number == SIGHUP and _pending:
            return  # the shell and the kernel each send one when a terminal is closed
        _pending.append(stopped(number, advice))
        raise _pending[-1]

    before = {number: signal.signal(number, stop) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _pending.clear()


def check() -> None:
    """Raise a `Stopped` that Python dropped, as it does in callbacks of weak references and finalizers."""
    if _pending:
        raise _pending[0]


def stopped(number: int, advice: str) -> Stopped:
    """Return the error that says which signal has stopped a command, and how to continue."""
    return Stopped(number, f"Stopped by {_NAMES[number]}. {advice}".rstrip())


def end_at_once() -> None:
    """Have a signal end the process without a word: around a command there is nothing to save."""
    for number in stop_signals():
        signal.signal(number, lambda n, frame: os._exit(128 + n))


@contextmanager
def silent(enabled: bool) -> Iterator[None]:
    """Have a signal end the process without a word, where another one says it; in the main thread only."""
    before = {}
    if enabled and threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in stop_signals()}
        end_at_once()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore() -> None:
    """Have no further signal disturb the end of a process that was stopped, and has said so."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


class _AtOnce(BaseException):
    """Leaves work that may be left at any place."""


class StopRequest:
    """Whether the process has been asked to stop: ``signal`` is the number of the signal, or None.

    Where processes stop together (``shared``), it is up to them to make ``signal`` of what each has
    ``noted``.
    """

    def __init__(self, shared: bool = False) -> None:
        self.signal: int | None = None
        self.noted: int | None = None
        self._shared = shared
        self._interruptible = False

    def note(self, number: int) -> None:
        """Take note of a signal."""
        self.noted = number
        if self._shared:
            return
        self.signal = number
        if self._interruptible:
            raise _AtOnce

    def or_stop(self, work: Callable[[], Result]) -> Result | None:
        """Do some work that changes nothing that is saved; at a signal leave it and return None."""
        try:
            self._interruptible = True
            try:
                return work()
            finally:
                self._interruptible = False
        except _AtOnce:
            return None


@contextmanager
def stop_requests(enabled: bool, shared: bool = False) -> Iterator[StopRequest]:
    """Take note of Ctrl-C, SIGTERM and SIGHUP instead of obeying at once; in the main thread only.

    A second one is obeyed, but for SIGHUP: a terminal that is closed sends several.
    """
    check()
    request = StopRequest(shared)
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield request
        return
    names = stop_signals()
    before = {number: signal.getsignal(number) for number in names}

    def restore(but: int | None = None) -> None:
        for number, handler in before.items():
            if number != but:
                signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        if request.noted is not None:
            return
        restore(but=SIGHUP)
        logger.info("%s: the run saves its state and stops; repeat to stop at once.", names[number])
        request.note(number)

    for number in names:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
