"""The order of the next rows, made in a thread while these are handed out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fuxictr_stem.data.loading.order import Index, Window


class OrdersAhead:
    """Makes the orders of windows, each while the window before is in use.

    A permutation of millions of rows takes longer than a batch; NumPy makes it without holding up the
    thread that trains.

    Args:
        make: Makes the order of a window.
    """

    def __init__(self, make: Callable[[Window], Index | None]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="orders")
        self._next: tuple[Window, Future[Index | None]] | None = None

    def start(self, window: Window, following: Window | None) -> Future[Index | None]:
        """Begin with a window's order, if that has not begun, and with that of the one after it."""
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0].key == window.key:
            order = waiting[1]
        else:
            order = self._pool.submit(self._make, window)
        if following is not None and following.key is not None:
            self._next = (following, self._pool.submit(self._make, following))
        return order
