"""What falls to each process of a group, and who waits for whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxictr_stem.runtime.group import ALONE, Member, is_first_process, started_by_torchrun
from tests.support.groups import on_threads


@given(things=st.integers(0, 60), count=st.integers(1, 9))
def test_the_shares_are_all_things_once_and_about_equal(things, count):
    shares = [range(*Member(number, count).share_of(things)) for number in range(count)]
    assert [thing for share in shares for thing in share] == list(range(things))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("turn", "place"), [("after_first", 0), ("before_first", -1)])
def test_the_first_process_has_its_turn_before_the_others_or_after_them(turn, place):
    order = []

    def work(group):
        return getattr(group, turn)(lambda: order.append(group.number) or group.number)

    assert on_threads(3, work) == [0, 1, 2]
    assert order[place] == 0
    assert sorted(order) == [0, 1, 2]


def test_a_process_that_is_alone_waits_for_nobody():
    assert ALONE.is_first
    assert ALONE.share_of(7) == (0, 7)
    assert ALONE.exchange("x") == ["x"]
    turns = (ALONE.from_first, ALONE.after_first, ALONE.before_first)
    assert [turn(lambda: 3) for turn in turns] == [3, 3, 3]


@pytest.mark.parametrize(
    ("variables", "one_of_several", "first"),
    [
        ({}, False, True),
        ({"RANK": "0", "WORLD_SIZE": "1"}, False, True),
        ({"WORLD_SIZE": "2"}, False, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True, False),
    ],
)
def test_who_speaks_for_what_torchrun_has_started(monkeypatch, variables, one_of_several, first):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_by_torchrun() == one_of_several
    assert is_first_process() == first
