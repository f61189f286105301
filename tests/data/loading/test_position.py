"""A loader knows its position and goes on from anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.loading import loader as loader_module
from fuxictr_stem.errors import ConfigError
from tests.support.splits import ANY, loader, same_all, write


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "train.h5"
    return path, write(path, 50)


@pytest.mark.slow
@given(**ANY, data=st.data())
@settings(max_examples=100, deadline=None)
def test_resume_anywhere(
    tmp_path_factory, rows, batch_size, chunk, window, shuffle, drop_last, seed, data
):
    path = tmp_path_factory.getbasetemp() / f"rows-{rows}.h5"
    write(path, rows)
    more = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last}
    unbroken = loader(path, chunk, window, seed=seed, **more)
    epochs = [list(unbroken) for _ in range(3)]
    first = loader(path, chunk, window, seed=seed, memory_budget=0, **more)
    done = data.draw(st.integers(0, len(epochs[1])))
    list(first)
    second_epoch = iter(first)
    for _ in range(done):
        next(second_epoch)
    state = first.state_dict()
    assert state == {"epoch": 1, "batch": done, "seed": seed}
    for budget in (0, 10**9):
        # Another seed at first: the state brings its own.
        resumed = loader(path, chunk, window, seed=1, memory_budget=budget, **more)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        same_all(resumed, epochs[1][done:])
        assert resumed.state_dict() == {"epoch": 2, "batch": 0, "seed": seed}
        same_all(resumed, epochs[2])


def test_resume_at_every_batch(split):
    path, _ = split
    whole = list(loader(path, shuffle=True, batch_size=7))
    for done in range(len(whole) + 1):
        for budget in (0, 10**9):
            resumed = loader(path, shuffle=True, batch_size=7, memory_budget=budget)
            resumed.load_state_dict({"epoch": 0, "batch": done, "seed": 2023})
            same_all(resumed, whole[done:])


def test_the_position_is_after_the_batches_handed_out(split):
    path, _ = split
    batches = loader(path, batch_size=20)
    assert batches.state_dict() == {"epoch": 0, "batch": 0, "seed": 2023}
    positions = [batches.state_dict()["batch"] for _ in batches]
    assert positions == [1, 2, 3]
    assert batches.state_dict() == {"epoch": 1, "batch": 0, "seed": 2023}


def test_a_pass_that_is_broken_off_counts_as_an_epoch(split):
    path, _ = split
    one, other = loader(path, shuffle=True), loader(path, shuffle=True)
    next(iter(one))
    other.set_epoch(1)
    same_all(one, other)


def test_an_older_pass_does_not_move_the_position(split):
    path, _ = split
    batches = loader(path, shuffle=True, batch_size=7)
    older = iter(batches)
    next(older)
    newer = iter(batches)
    next(newer)
    list(older)
    assert batches.state_dict() == {"epoch": 1, "batch": 1, "seed": 2023}
    older = iter(batches)
    batches.set_epoch(5)
    list(older)
    assert batches.state_dict() == {"epoch": 5, "batch": 0, "seed": 2023}


def test_resuming_skips_windows_without_reading(split, monkeypatch):
    path, _ = split
    read, calls = loader_module.read_rows, []
    monkeypatch.setattr(loader_module, "read_rows", lambda *a: calls.append(1) or read(*a))
    # Windows have 12 rows; one of the five has 10 and a batch of 5 has no end there.
    for batch_size, batch, windows in ((5, 8, 2), (12, 2, 3), (12, 1, 4)):
        resumed = loader(path, batch_size=batch_size, memory_budget=0)
        resumed.load_state_dict({"epoch": 0, "batch": batch, "seed": 2023})
        calls.clear()
        list(resumed)
        assert len(calls) == windows


@pytest.mark.parametrize("state", [{"epoch": -1, "batch": 0}, {"epoch": 0, "batch": 8}])
def test_positions_that_are_not_there(split, state):
    batches = loader(split[0], batch_size=7, drop_last=True)
    with pytest.raises(ConfigError, match="Resume with the batch_size"):
        batches.load_state_dict(state | {"seed": 1})
    assert batches.state_dict() == {"epoch": 0, "batch": 0, "seed": 2023}
