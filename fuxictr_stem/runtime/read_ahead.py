"""Work on an item while the next one is read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Generator[Item]) -> Iterator[Item]:
    """Pass on items, none of them None, while a thread makes the next one."""
    try:
        with ThreadPoolExecutor(1, "ahead") as thread:
            following = thread.submit(next, items, None)
            while (item := following.result()) is not None:
                following = thread.submit(next, items, None)
                yield item
    finally:
        items.close()
