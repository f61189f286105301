"""A group of threads in the place of processes."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

from fuxictr_stem.runtime.group import Group

SECONDS = 100


class ThreadGroup(Group):
    """A thread that waits for the others of its group; values are JSON, as between processes."""

    def __init__(self, number, barrier, values):
        self.number, self.count = number, len(values)
        self._barrier, self._values = barrier, values

    def from_first(self, work):
        return self.exchange(work() if self.is_first else None)[0]

    def exchange(self, value):
        self._values[self.number] = json.dumps(value)
        self._barrier.wait(SECONDS)
        values = [json.loads(text) for text in self._values]
        self._barrier.wait(SECONDS)
        return values


def on_threads(count, target):
    """Call a function with each thread of a group at once; return the results, or raise an error."""
    barrier, values = threading.Barrier(count), [None] * count
    groups = [ThreadGroup(number, barrier, values) for number in range(count)]

    def call(group):
        try:
            return target(group)
        except BaseException:
            # The others wait for it in vain.
            barrier.abort()
            raise

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(call, group) for group in groups]
    errors = [future.exception() for future in futures if future.exception()]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [future.result() for future in futures]
