"""A process that is alone is all of its ranks; of several on a host, each has a device of its own."""

from fuxictr_stem.runtime.group import Group
from fuxictr_stem.training.evaluation import Predictions
from fuxictr_stem.training.ranks import Ranks


def test_a_process_that_is_alone_is_the_whole():
    ranks = Ranks()
    whole = Predictions({}, {}, None)
    assert ranks.gather(whole, []) is whole
    assert [ranks.any_signal(noted) for noted in (None, 15)] == [None, 15]
    assert ranks.name.startswith("rank 0 of 1 (counted from 0, on ")


def test_the_devices_of_a_host_are_dealt_out_from_its_first():
    ranks = Ranks()
    assert [ranks.device(gpu) for gpu in (-1, 0, 3)] == [-1, 0, 3]
    ranks.host = Group(2, 4)
    assert [ranks.device(gpu) for gpu in (-1, 0, 3)] == [-1, 2, 5]
