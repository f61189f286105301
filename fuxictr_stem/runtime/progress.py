"""Progress of long work: a bar with speed and time left in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

from fuxictr_stem.runtime import signals

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 2.5

Block = TypeVar("Block", bound=Sized)


class Progress:
    """Counts the samples or rows of a pass, and shows how many a second and the time left.

    A context manager. ``title`` is what is running, such as ``Epoch 1``; the ``total`` may be None.
    """

    def __init__(
        self, title: str, total: int | None, unit: str = "samples", enabled: bool = True
    ) -> None:
        self.title, self.total, self.unit, self.enabled = title, total, unit, enabled
        self.done = self._skipped = 0
        self._start = self._last_line = time.monotonic()
        self._bar: tqdm | None = None
        if enabled and sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=True, leave=False)

    def skip(self, count: int) -> None:
        """Begin after some that were done before; they do not count for the speed."""
        self.done = self._skipped = count
        if self._bar is not None:
            self._bar.initial = self._bar.n = count

    def expect(self, total: int | None) -> None:
        """Set how many there are, where that is known late."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total

    def update(self, count: int, **figures: float) -> None:
        """Add to the count; figures such as ``loss`` are shown next to it."""
        signals.check()
        self.done += count
        if self._bar is not None:
            if figures:
                self._bar.set_postfix({k: f"{v:.4f}" for k, v in figures.items()}, refresh=False)
            self._bar.update(count)
        elif self.enabled and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            logger.info(self._line(figures))

    def _line(self, figures: dict[str, float]) -> str:
        rate = (self.done - self._skipped) / max(time.monotonic() - self._start, 1e-9)
        done = f"{self.done:,} {self.unit}"
        if self.total:
            left = timedelta(seconds=round(max(self.total - self.done, 0) / max(rate, 1e-9)))
            done = f"{self.done / self.total:.0%} of {self.total:,} {self.unit}, {left} left"
        slow = self.total is not None and rate < 1
        speed = f"{1 / max(rate, 1e-9):,.0f} s each" if slow else f"{rate:,.0f} {self.unit}/s"
        parts = [f"{self.title}: {done}", speed]
        return ", ".join(parts + [f"{name} {value:.4f}" for name, value in figures.items()])

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def track(
    blocks: Iterable[Block], title: str, total: int | None = None, unit: str = "rows"
) -> Iterator[Block]:
    """Hand on blocks of rows and show how many have been worked on; arguments as of `Progress`."""
    with Progress(title, total, unit) as progress:
        for block in blocks:
            yield block
            progress.update(len(block))
