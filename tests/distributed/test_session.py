"""What ranks agree on outside of steps, by a store in this process."""

import math
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch import distributed

from fuxictr_stem.distributed import session
from fuxictr_stem.distributed.messages import RankLost
from fuxictr_stem.distributed.rendezvous import MISTAKE
from fuxictr_stem.distributed.session import TorchRanks, run_on_ranks
from fuxictr_stem.errors import ConfigError, DataError, Stopped, TrainingError
from fuxictr_stem.training.ranks import Ranks


@pytest.fixture
def two(monkeypatch):
    """Two ranks, whose hearts a test may start."""
    monkeypatch.setattr(session, "_BEAT_SECONDS", 0.01)
    monkeypatch.setattr(session, "TIMEOUT", timedelta(seconds=0.3))
    monkeypatch.setattr(session.signals, "ignore", lambda: None)
    store = distributed.HashStore()
    ranks = [TorchRanks(store, number, 2) for number in range(2)]
    yield ranks
    for rank in ranks:
        rank._over.set()


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    ranks = run_on_ranks(lambda ranks: ranks)
    assert type(ranks) is Ranks
    assert (ranks.number, ranks.count, ranks.is_first) == (0, 1, True)
    assert ranks.from_first(lambda: 3) == ranks.after_first(lambda: 3) == 3


@pytest.mark.parametrize(
    ("gpu", "cuda", "nccl", "backends"),
    [
        (-1, True, True, {"cpu": "gloo", "cuda": "gloo"}),
        (0, False, True, {"cpu": "gloo", "cuda": "gloo"}),
        (0, True, False, {"cpu": "gloo", "cuda": "gloo"}),
        (1, True, True, {"cpu": "gloo", "cuda": "nccl"}),
    ],
)
def test_nccl_carries_what_lies_on_cuda_devices(monkeypatch, gpu, cuda, nccl, backends):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(distributed, "is_nccl_available", lambda: nccl)
    config = distributed.distributed_c10d.BackendConfig(session._backend(gpu))
    assert {name: config.get_device_backend_map()[name] for name in backends} == backends


def test_each_rank_of_a_host_has_a_device_of_its_own(monkeypatch, caplog):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "is_nccl_available", lambda: True)
    ranks = [TorchRanks(distributed.HashStore(), number, 4, number % 2, 2) for number in range(4)]
    assert [rank.device(-1) for rank in ranks] == [-1] * 4
    assert not chosen
    assert not caplog.text
    assert [rank.device(1) for rank in ranks] == chosen == [1, 2, 1, 2]
    assert "has not been tried on GPUs yet" in caplog.text
    monkeypatch.setattr(distributed, "is_nccl_available", lambda: False)
    with pytest.raises(ConfigError, match="--gpu 0: several processes need NCCL, which PyTorch"):
        ranks[1].device(0)
    assert Ranks().device(1) == 1


def test_all_get_what_the_work_of_the_first_returns(two):
    results = [{"AUC": 0.1 + 0.2, "gAUC": math.nan}, None, [1]]
    for result in results:
        first = two[0].from_first(lambda result=result: result)
        other = two[1].from_first(pytest.fail)
        assert repr(first) == repr(other) == repr(result)


def test_each_gets_the_values_of_all(two):
    with ThreadPoolExecutor(2) as pool:
        for values in ([{"AUC": 0.1 + 0.2}, None], [1, "a"]):
            assert list(pool.map(TorchRanks.exchange, two, values)) == [values, values]


def test_who_waits_for_a_rank_that_hangs_ends(two):
    with pytest.raises(RankLost, match="Rank 1 does not answer"):
        two[0].exchange(0)


def test_the_first_does_its_work_last(two):
    done = []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda rank: rank.before_first(lambda: done.append(rank.number)), two))
    assert done == [1, 0]


def test_the_ranks_of_a_host_are_a_group():
    """torchrun numbers ranks host by host."""
    store = distributed.HashStore()
    ranks = [TorchRanks(store, number, 4, number % 2, 2) for number in range(4)]
    assert [(rank.host.number, rank.host.count) for rank in ranks] == [(0, 2), (1, 2)] * 2
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda rank: rank.host.exchange(rank.number), ranks))
        assert values == [[0, 1]] * 2 + [[2, 3]] * 2
        firsts = list(pool.map(lambda rank: rank.host.from_first(lambda: rank.number), ranks))
        assert firsts == [0, 0, 2, 2]


def test_who_waits_for_a_first_rank_that_hangs_ends(two):
    with pytest.raises(RankLost, match="Rank 0 does not answer"):
        two[1].from_first(pytest.fail)


def test_the_first_rank_is_waited_for_as_long_as_it_lives(two):
    """Its beat goes on long after the time for an answer, until it ends by an error."""
    first, other = two
    first._heart.start()

    def look():
        if int(first._beat_of(0) or 0) > 100 and not first._over.is_set():
            first.ending(DataError("no file"))

    other._store = Watched(other._store, look)
    with pytest.raises(RankLost, match="Another rank has ended the run"):
        other.from_first(pytest.fail)
    assert first._over.is_set()


class Watched:
    """A store that does something before each look."""

    def __init__(self, store, before):
        self._store, self._before = store, before

    def check(self, keys):
        self._before()
        return self._store.check(keys)

    def get(self, key):
        return self._store.get(key)


def test_one_rank_says_why_the_run_ends(two):
    error = DataError("no file")
    assert two[1].ending(error) is error
    silent = two[0].ending(RankLost("closed"))
    assert isinstance(silent, SystemExit)
    assert silent.code == 2
    # For ranks that torchrun starts again.
    assert two[0]._store.check([MISTAKE])


def test_a_signal_to_all_is_reported_once(two):
    for rank in two:
        rank._heart.start()
    stopped = Stopped(signal.SIGTERM, "Stopped by SIGTERM.")
    assert two[1].ending(stopped) is stopped
    silent = two[0].ending(Stopped(signal.SIGTERM, "Stopped by SIGTERM."))
    assert silent.code == 143


@pytest.mark.parametrize("error", [RankLost("closed"), Stopped(signal.SIGTERM, "Stopped.")])
def test_a_rank_without_a_beat_is_named(two, error):
    """torchrun sends SIGTERM to the others, so that may be the first that they learn of it."""
    two[0]._heart.start()
    ending = two[0].ending(error)
    assert isinstance(ending, TrainingError)
    assert str(ending).startswith("Rank 1 of 2 (counted from 0) has ended without a message")
    assert not two[0]._store.check([MISTAKE])
