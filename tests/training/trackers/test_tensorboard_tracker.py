"""TensorBoard: each point once in a run's folder, also after a kill."""

import pytest

from fuxictr_stem.training.trackers.tensorboard_tracker import FOLDER, TensorBoard
from fuxictr_stem.training.trackers.tracker import Ending, Point, TrackedRun
from tests.support.trackers import in_tensorboard

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
RESULT = Ending("FINISHED", 8, {"test": {"AUC": 0.5}})


def write(folder, previous, next_step, steps, ending=None, value=0.0):
    """What a process does in a run that it begins, or that it goes on with from a step."""
    tracker = TensorBoard()
    assert tracker.prepare() == ""
    assert tracker.start(TrackedRun("a", "toy", None, folder), previous, next_step) == FOLDER
    tracker.log([Point(step, 1e9 + step, {"train/loss": step + value}) for step in steps])
    if ending is not None:
        tracker.end(ending)


def test_a_run_that_goes_on_replaces_what_came_after_its_state(tmp_path):
    write(tmp_path, None, 0, [2, 4, 6])  # killed after the state of step 4
    write(tmp_path, FOLDER, 5, [6, 8], RESULT, value=0.5)
    figures = in_tensorboard(tmp_path)
    assert figures["train/loss"] == {2: 2, 4: 4, 6: 6.5, 8: 8.5}
    assert figures["test/AUC"] == {8: 0.5}
    # Killed before that was noted, it ends a second time.
    write(tmp_path, FOLDER, 9, [], RESULT)
    assert in_tensorboard(tmp_path) == figures
    # One that begins anew has nothing of the old one.
    write(tmp_path, None, 0, [3], Ending("FAILED", 3, None))
    assert in_tensorboard(tmp_path) == {"train/loss": {3: 3}}
