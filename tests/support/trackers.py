"""A tracker that keeps its points in this process, and what TensorBoard reads of a run's folder."""

from collections import defaultdict

import pytest

from fuxictr_stem.training.trackers.tracker import Tracker

# What is measured, and differs from run to run.
MEASURED = ("memory/", "speed/")


class Service:
    """What outlives a process: the runs of a service, by id, their points in the order they came."""

    def __init__(self):
        self.runs = defaultdict(list)
        self.endings = {}


class KeptPoints(Tracker):
    """Logs into a `Service`; ``before`` is called before each of the methods, with its name."""

    name = "kept"
    tries = 3

    def __init__(self, service, before=lambda name: None):
        self.service, self.before = service, before

    def prepare(self):
        return ""

    def start(self, run, previous, next_step):
        self.before("start")
        self.id = previous or f"run {len(self.service.runs)}"
        self.service.runs[self.id]  # noqa: B018  made by the look
        return self.id

    def log(self, points):
        self.before("log")
        self.service.runs[self.id] += points
        self.before("answer")

    def last_step(self):
        self.before("last_step")
        return max((point.step for point in self.service.runs[self.id]), default=-1)

    def end(self, ending):
        self.before("end")
        self.service.endings[self.id] = ending


def figures_of(points):
    """By figure, its values by step; no step comes twice."""
    found = defaultdict(dict)
    for point in points:
        for name, value in point.figures.items():
            assert point.step not in found[name], (name, point.step)
            found[name][point.step] = value
    return dict(found)


def in_tensorboard(folder):
    """By tag, what TensorBoard reads of a run's folder, value by step; no step comes twice."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed",
    )
    events = reader.EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        scalars = events.Scalars(tag)
        found[tag] = {scalar.step: scalar.value for scalar in scalars}
        assert len(found[tag]) == len(scalars), (tag, scalars)
    return found


def not_measured(figures):
    """The figures that a seed repeats."""
    return {name: x for name, x in figures.items() if not name.startswith(MEASURED)}
