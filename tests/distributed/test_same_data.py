"""The data of ranks on hosts with a folder each."""

from pathlib import Path
from typing import NamedTuple

import pytest

from fuxictr_stem.distributed.same_data import open_same_data
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.group import Group
from fuxictr_stem.training.ranks import Ranks


class Opened(NamedTuple):
    folder: Path


class Second(Ranks):
    """The first rank of the second host; the first host has the data `a`."""

    host = Group()

    def __init__(self):
        super().__init__(1, 2)

    def from_first(self, work):
        return "a"


@pytest.mark.parametrize(
    ("before", "after", "is_built"),
    [("b", "b", False), (None, "b", True), ("a", "a", True), (None, "a", True)],
)
def test_other_data_are_rejected_before_they_are_built_where_that_can_be(before, after, is_built):
    built = []

    def open_data():
        built.append(Opened(Path(after)))
        return built[-1]

    if after == "a":
        assert open_same_data(open_data, lambda: before, Second()) is built[0]
    else:
        with pytest.raises(DataError, match=r"data of rank 1 of 2 .* .cache b, rank 0 has a"):
            open_same_data(open_data, lambda: before, Second())
    assert len(built) == is_built


def test_a_process_that_is_alone_opens_its_data_once():
    built = []
    open_same_data(lambda: built.append(1) or Opened(Path("a")), pytest.fail, Ranks())
    assert built == [1]
