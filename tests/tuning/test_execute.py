"""Runs as processes: how many at a time and where, which are made again, and why one failed."""

import json
import sys
import threading
from collections import Counter
from contextlib import suppress

import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.tuning import execute
from fuxictr_stem.tuning.execute import Runs
from fuxictr_stem.tuning.run_spec import RunSpec
from tests.support import fake_runs

GPUS = (0, 0, 1)


class Numbered(Runs):
    """Runs of one number each, which is also their result."""

    def __init__(self, folder, count, changed=()):
        super().__init__(folder, folder / "runs.csv", threads=1)
        self.total, self.ends = count, []
        self.specs = [
            RunSpec(
                *(f"run{n}", n, {}, {"number": n}, f"key{n}{'b' * (n in changed)}"),
                *(folder / f"run{n}", folder / f"results{n}"),
            )
            for n in range(count)
        ]

    def wanted(self, outcomes):
        return (spec for spec in self.specs if spec not in outcomes)

    def read(self, spec):
        with suppress(OSError, ValueError):
            result = json.loads((spec.results / "result.json").read_text())
            if result["key"] == spec.key:
                return {"test": {"y_AUC": spec.seed}}
        raise DataError("There is no result.")

    def ended(self, spec, outcomes, is_old):
        assert spec in outcomes
        self.ends.append((spec.seed, is_old))


@pytest.fixture
def start(tmp_path, monkeypatch):
    """What makes runs with made-up processes, and says which were made."""
    fake_runs.use(monkeypatch)

    def started(runs, faults=None, meet=None, gpus=GPUS):
        made, now, most, lock = [], Counter(), Counter(), threading.Lock()

        def work(job, log, _):
            number = job["overrides"]["number"]
            with lock:
                made.append(number)
                now[job["gpu"]] += 1
                most[job["gpu"]] = max(most[job["gpu"]], now[job["gpu"]])
            if meet is not None and number < meet.parties:
                meet.wait(60)
            text, code = (faults or {}).get(number, ("fine", 0))
            log.write_text(text)
            if text == "fine":
                spec = runs.specs[number]
                spec.results.mkdir(exist_ok=True)
                (spec.results / "result.json").write_text(json.dumps({"key": spec.key}))
            with lock:
                now[job["gpu"]] -= 1
            sys.exit(code)

        monkeypatch.setattr(execute, "work", work)
        outcomes = execute.execute(runs, gpus)
        assert all(count <= gpus.count(gpu) for gpu, count in most.items()), most
        return outcomes, sorted(made)

    return started


def test_every_run_is_made_once_and_as_many_at_a_time_as_there_are_places(start, tmp_path):
    runs = Numbered(tmp_path, 7)
    # The first three wait for each other, so they do run at once.
    outcomes, made = start(runs, meet=threading.Barrier(3))
    assert made == list(range(7))
    assert outcomes.done == {f"key{n}": {"test": {"y_AUC": n}} for n in range(7)}
    assert not outcomes.failed
    assert sorted(runs.ends) == [(n, False) for n in range(7)]


def test_a_run_that_fails_says_why_and_stops_no_other(start, tmp_path):
    faults = {
        0: ("a note\nerror: it diverged\nat once", 2),
        1: ("some lines\nthe last", 3),
        2: ("", -9),
        3: ("no result", 0),
    }
    outcomes, _ = start(Numbered(tmp_path, 6), faults)
    assert set(outcomes.done) == {"key4", "key5"}
    assert outcomes.failed == {
        "key0": "it diverged\nat once",
        "key1": f"ended with exit code 3: the last (the whole log: {tmp_path / 'run1/log.txt'})",
        "key2": f"ended by signal 9: it wrote nothing (the whole log: {tmp_path / 'run2/log.txt'})",
        "key3": "There is no result.",
    }


def test_a_second_start_makes_what_failed_or_changed_or_was_damaged(start, tmp_path):
    start(Numbered(tmp_path, 5), {1: ("error: it diverged", 2)})
    states = [tmp_path / f"results{n}" / "states" for n in range(5)]
    for folder in states:
        folder.mkdir(parents=True)
    (tmp_path / "results2" / "result.json").unlink()
    (tmp_path / "results3" / "result.json").write_text("{")
    again = Numbered(tmp_path, 5, changed=[2])
    outcomes, made = start(again)
    assert made == [1, 2, 3]
    assert len(outcomes.done) == 5
    assert sorted(again.ends) == [(0, True), (1, False), (2, False), (3, False), (4, True)]
    # A run goes on from its own state, never from one of other settings or of a run with a result.
    assert [folder.exists() for folder in states] == [True, True, False, False, True]
