"""Progress of long work: a bar with speed and time left in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Count samples of a pass; shows loss, samples per second and the time left.

    Use as a context manager.

    Args:
        title: What is running, e.g. ``Epoch 1``.
        total: Number of samples of the whole pass, or None where it is unknown.
        enabled: Whether anything is shown.
    """

    def __init__(self, title: str, total: int | None, enabled: bool = True) -> None:
        self.title, self.total, self.enabled = title, total, enabled
        self.done = 0
        self._start = self._last_line = time.monotonic()
        in_terminal = enabled and sys.stderr.isatty()
        self._bar = (
            tqdm(total=total, desc=title, unit=" samples", unit_scale=True, leave=False)
            if in_terminal
            else None
        )

    def update(self, samples: int, **figures: float) -> None:
        """Add samples; figures such as ``loss`` are shown beside the count."""
        self.done += samples
        if self._bar is not None:
            if figures:
                self._bar.set_postfix({k: f"{v:.4f}" for k, v in figures.items()}, refresh=False)
            self._bar.update(samples)
        elif self.enabled and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            logger.info(self._line(figures))

    def _line(self, figures: dict[str, float]) -> str:
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        parts = [f"{self.title}: {self.done:,} samples"]
        if self.total:
            left = timedelta(seconds=round(max(self.total - self.done, 0) / rate))
            parts = [f"{self.title}: {self.done / self.total:.0%} of {self.total:,} samples"]
            parts.append(f"{left} left")
        parts.append(f"{rate:,.0f} samples/s")
        return ", ".join(parts + [f"{name} {value:.4f}" for name, value in figures.items()])

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
