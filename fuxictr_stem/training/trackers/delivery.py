"""Points to a tracker, in a thread, so that no step waits for a service; one that fails is given up."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from fuxictr_stem.training.trackers.tracker import Ending, Point, TrackedRun, Tracker

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
END_SECONDS = 30.0
BETWEEN_SECONDS = 2.0
"""Between two deliveries, so that their cost does not grow with the speed of the steps."""


class Delivery:
    """Delivers points to one tracker, each once, in order.

    Failures of the tracker are one warning; after that, nothing of the run is sent there any more.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._id: str | None = None
        # Not delivered yet; the thread removes what it has delivered.
        self._points: deque[Point] = deque()
        self._news = threading.Condition()
        self._started, self._hurry = threading.Event(), threading.Event()
        self._ending: Ending | None = None
        self._given_up = False
        # The last step that the tracker has, unless that is in doubt.
        self._delivered, self._in_doubt = -1, False
        # Points that the tracker has, but that a kill could take from it, each with when it got it.
        self._unsettled: deque[tuple[float, Point]] = deque()
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The tracker's."""
        return self._tracker.name

    def start(self, run: TrackedRun, state: Mapping[str, Any] | None, step: int) -> None:
        """Begin, or continue from the `state` saved after a step; wait for the service, but not long."""
        previous = None
        if state is not None:
            previous = state["id"]
            self._points.extend(Point(*point) for point in state["unsent"])
        next_step = self._points[0].step if self._points else step + 1
        self._thread = threading.Thread(
            target=self._work, args=(run, previous, next_step), name=self.name, daemon=True
        )
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            self._give_up(f"it did not answer within {START_SECONDS:.0f} s")

    def put(self, point: Point) -> None:
        """Take a point to deliver."""
        with self._news:
            if not self._given_up:
                self._points.append(point)
                self._news.notify()

    def state(self) -> dict[str, Any] | None:
        """Return what continues with this, as JSON; None where nothing has begun."""
        if self._id is None:
            return None
        with self._news:
            self._drop_settled()
            unsent = [point for _, point in self._unsettled]
            return {"id": self._id, "unsent": unsent + self._not_delivered()}

    def end(self, ending: Ending, seconds: float = END_SECONDS) -> None:
        """Deliver what is left and end the run, waiting no longer than some seconds."""
        with self._news:
            self._ending = ending
            self._news.notify()
        self._hurry.set()
        if self._thread is None:
            return
        self._thread.join(seconds)
        if self._thread.is_alive() and not self._given_up:
            self._give_up(f"it did not take the last points within {seconds:.0f} s")

    def _give_up(self, reason: object) -> None:
        with self._news:
            if self._given_up:
                return
            self._given_up = True
            self._points.clear()
            self._unsettled.clear()
        text = str(reason) or type(reason).__name__
        logger.warning("Tracker %s: %s. The run continues without it.", self.name, text.rstrip("."))

    def _work(self, run: TrackedRun, previous: str | None, next_step: int) -> None:
        try:
            self._id = self._tracker.start(run, previous, next_step)
            # A run that was killed may have delivered more than its state knows.
            self._in_doubt = previous is not None
        except Exception as error:  # a service's client may raise anything
            self._give_up(error)
        self._started.set()
        failures = 0
        while not self._given_up:
            try:
                if self._deliver():
                    return
                failures = 0
            except Exception as error:
                failures += 1
                if failures >= self._tracker.tries:
                    self._give_up(error)
            self._hurry.wait(BETWEEN_SECONDS * 4**failures)

    def _deliver(self) -> bool:
        """Deliver what there is, or end; return whether it is the end."""
        with self._news:
            self._news.wait_for(lambda: self._points or self._ending)
        if self._in_doubt:
            self._delivered = self._tracker.last_step()
            self._in_doubt = False
        points = self._not_delivered()
        if not points:
            if self._ending is None:
                return False
            self._tracker.end(self._ending)
            return True
        # An answer may be lost where the points are not.
        self._in_doubt = True
        self._tracker.log(points)
        self._in_doubt = False
        with self._news:
            now = time.monotonic()
            self._unsettled.extend((now, point) for point in points)
            self._drop_settled()
            self._delivered = points[-1].step
            self._not_delivered()
        return False

    def _drop_settled(self) -> None:
        now = time.monotonic()
        while self._unsettled and now >= self._unsettled[0][0] + self._tracker.settle_seconds:
            self._unsettled.popleft()

    def _not_delivered(self) -> list[Point]:
        with self._news:
            while self._points and self._points[0].step <= self._delivered:
                self._points.popleft()
            return list(self._points)
