"""Ctrl-C and SIGTERM outside of training: obeyed at once, and not lost where Python drops the exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fuxictr_stem.errors import Stopped

NAMES = {int(signal.SIGINT): "Ctrl-C", int(signal.SIGTERM): "SIGTERM"}

_asked: list[Stopped] = []


@contextmanager
def obeyed() -> Iterator[None]:
    """Raise `Stopped` at a signal; outside of the main thread signals are left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in NAMES}
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
    text = f"Stopped by {NAMES[number]}. A run goes on by the same command with --resume."
    _asked.append(Stopped(number, text))
    raise _asked[-1]
