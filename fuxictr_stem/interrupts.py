"""Ctrl-C, SIGTERM, SIGHUP outside of training: obeyed at once, and never lost where Python drops it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fuxictr_stem.errors import Stopped

HANGUP: int | None = getattr(signal, "SIGHUP", None)  # Windows has none

_NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}
if HANGUP is not None:
    _NAMES[int(HANGUP)] = "SIGHUP"

_asked: list[Stopped] = []


def heeded() -> dict[int, str]:
    """Return the signals that stop a run, with their names; not a SIGHUP that nohup wants ignored."""
    ignored = HANGUP is not None and signal.getsignal(HANGUP) is signal.SIG_IGN
    return {number: name for number, name in _NAMES.items() if number != HANGUP or not ignored}


@contextmanager
def obeyed() -> Iterator[None]:
    """Raise `Stopped` at a signal; outside of the main thread signals are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def check() -> None:
    """Raise again what Python dropped: it does so in callbacks of weak references and finalizers.

    Raises:
        Stopped: A signal came.
    """
    if _asked:
        raise _asked[0]


def _stop(number: int, frame: FrameType | None) -> None:
    if number == HANGUP and _asked:
        return  # the shell and the kernel each send one when a terminal is closed
    text = f"Stopped by {_NAMES[number]}. A run goes on by the same command with --resume."
    _asked.append(Stopped(number, text))
    raise _asked[-1]
