"""Points reach a tracker once and in order, and one that fails or hangs ends and slows no run."""

import logging
import threading
import time

import pytest

from fuxictr_stem.training.trackers import delivery
from fuxictr_stem.training.trackers.delivery import Delivery
from fuxictr_stem.training.trackers.tracker import Ending, Point, TrackedRun
from tests.support.trackers import KeptPoints, Service

DONE = Ending("FINISHED", 9, {"test": {"AUC": 0.5}})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(delivery, "BETWEEN_SECONDS", 0.001)


def point(step):
    return Point(step, 100.0 + step, {"train/loss": 1 / step})


def started(tracker, folder, state=None, step=0):
    made = Delivery(tracker)
    made.start(TrackedRun("a", "toy", None, folder), state, step)
    return made


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_all_points_come_before_the_end(tmp_path):
    service = Service()
    made = started(KeptPoints(service), tmp_path)
    points = [point(step) for step in range(1, 200)]
    for one in points:
        made.put(one)
    made.end(DONE)
    assert service.runs == {"run 0": points}
    assert service.endings == {"run 0": DONE}


def test_what_was_not_delivered_at_a_state_is_delivered_later(tmp_path):
    service, stuck = Service(), threading.Event()

    def before(name):
        if name == "log" and service.runs["run 0"]:
            stuck.set()
            threading.Event().wait()  # as if killed

    killed = started(KeptPoints(service, before), tmp_path)
    killed.put(point(1))
    until(lambda: not killed.state()["unsent"])
    killed.put(point(2))
    assert stuck.wait(20)
    killed.put(point(3))
    state = killed.state()
    assert state == {"id": "run 0", "unsent": [point(2), point(3)]}

    again = started(KeptPoints(service), tmp_path, state, step=3)
    again.put(point(4))
    again.end(DONE)
    assert service.runs == {"run 0": [point(step) for step in (1, 2, 3, 4)]}


def test_what_came_after_a_state_does_not_come_twice(tmp_path):
    service = Service()
    killed = started(KeptPoints(service), tmp_path)
    killed.put(point(1))
    state = killed.state()
    for step in (2, 3, 4):
        killed.put(point(step))
    until(lambda: len(service.runs["run 0"]) == 4)
    # The run that goes on passes the same steps again.
    again = started(KeptPoints(service), tmp_path, state, step=1)
    for step in range(2, 7):
        again.put(point(step))
    again.end(DONE)
    assert service.runs == {"run 0": [point(step) for step in range(1, 7)]}


def test_an_answer_that_is_lost_makes_no_point_twice(tmp_path, caplog):
    service, calls = Service(), []

    def before(name):
        calls.append(name)
        if name == "answer" and calls.count("answer") % 3 == 1:
            raise ConnectionError

    made = started(KeptPoints(service, before), tmp_path)
    for step in range(1, 40):
        made.put(point(step))
        time.sleep(0.001)
    made.end(DONE)
    assert service.runs == {"run 0": [point(step) for step in range(1, 40)]}
    assert calls.count("last_step") > 1
    assert not caplog.records


@pytest.mark.parametrize("at", ["start", "log", "end"])
def test_a_service_that_fails_is_one_warning(at, tmp_path, caplog):
    service, calls = Service(), []

    def before(name):
        calls.append(name)
        if name == at:
            raise OSError("no route to host")

    made = started(KeptPoints(service, before), tmp_path)
    for step in range(1, 9):
        made.put(point(step))
    made.end(DONE)
    made.put(point(10))
    assert [record.getMessage() for record in caplog.records] == [
        "Tracker kept: no route to host. The run continues without it."
    ]
    assert calls.count(at) == (1 if at == "start" else 3)
    state = made.state()
    assert state is None if at == "start" else state == {"id": "run 0", "unsent": []}


@pytest.mark.parametrize("at", ["start", "log", "end"])
def test_a_service_that_hangs_is_waited_for_no_longer_than_said(at, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(delivery, "START_SECONDS", 0.1)
    hang = threading.Event()

    def before(name):
        if name == at:
            hang.wait(20)

    start = time.monotonic()
    made = started(KeptPoints(Service(), before), tmp_path)
    made.put(point(1))
    made.end(DONE, seconds=0.1)
    assert time.monotonic() - start < 10
    hang.set()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "within 0 s" in record.getMessage()
