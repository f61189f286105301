"""How ranks find each other, by a store in this process."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch import distributed

from fuxictr_stem.distributed import rendezvous
from fuxictr_stem.distributed.rendezvous import MISTAKE, Keys, meet
from fuxictr_stem.errors import TrainingError
from fuxictr_stem.runtime import signals
from tests.support.processes import start


@pytest.fixture
def as_rank(monkeypatch):
    """Have this process be a rank of three, which finds a store."""
    monkeypatch.setattr(rendezvous, "_POLL_SECONDS", 0.001)
    store = distributed.HashStore()
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(store, 0, 0)]))

    def be(number, local=0, torchrun_keeps_store=True):
        variables = {"RANK": number, "WORLD_SIZE": 3, "LOCAL_RANK": local}
        variables |= {"MASTER_ADDR": "localhost", "MASTER_PORT": server.getsockname()[1]}
        variables["TORCHELASTIC_USE_AGENT_STORE"] = torchrun_keeps_store
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    with socket.create_server(("localhost", 0)) as server:
        yield be


def end_of_meeting(seconds=0.05):
    with pytest.raises((TrainingError, SystemExit)) as caught:
        meet(timedelta(seconds=seconds))
    return caught.value


def test_ranks_that_are_started_again_agree_on_a_new_name_in_the_same_store():
    store, names = distributed.HashStore(), set()
    for first_to_come in range(3):
        keys, end = Keys(store), time.monotonic() + 60
        with ThreadPoolExecutor(3) as pool:
            jobs = []
            for number in sorted(range(3), key=lambda n: (n - first_to_come) % 3):
                args = (keys, number, end) if number else (keys, 3, end)
                jobs.append(pool.submit(rendezvous._follow if number else rendezvous._lead, *args))
                # Whoever comes first meets only what earlier ranks have left.
                time.sleep(0.1)
            of_ranks = {job.result() for job in jobs}
        assert len(of_ranks) == 1
        assert not of_ranks & names
        names |= of_ranks


def test_a_rank_that_does_not_come_is_named_once(as_rank):
    as_rank(0)
    message = str(end_of_meeting())
    assert message.startswith("Rank 1 and 2 of 3 (counted from 0) did not start within 0.0")
    as_rank(1)
    assert str(end_of_meeting()).startswith("Rank 0 of 3 (counted from 0) did not start")
    as_rank(2)
    assert end_of_meeting().code == 2


def test_a_store_that_has_gone_is_one_message_on_each_host(as_rank, monkeypatch):
    def rendezvous(*_, **__):
        raise RuntimeError("connection closed")

    monkeypatch.setattr(distributed, "rendezvous", rendezvous)
    as_rank(2, local=0)
    assert "torchrun, which has started this process, has ended" in str(end_of_meeting())
    as_rank(1, local=1)
    assert end_of_meeting().code == 2
    as_rank(1, local=1, torchrun_keeps_store=False)
    assert "The first rank has ended, or cannot be reached" in str(end_of_meeting())


def test_a_torchrun_that_has_gone_is_found_at_once(as_rank, monkeypatch):
    """PyTorch tries to reach it for two minutes."""
    monkeypatch.setattr(distributed, "rendezvous", pytest.fail)
    as_rank(0)
    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        monkeypatch.setenv("MASTER_PORT", str(silent.getsockname()[1]))
        assert "torchrun, which has started this process, has ended" in str(end_of_meeting())


def test_ranks_that_are_started_again_after_a_mistake_leave_without_a_word(as_rank):
    next(distributed.rendezvous("env://"))[0].set(MISTAKE, "")
    for number in range(3):
        as_rank(number)
        assert end_of_meeting().code == 2


def test_meetings_work_outside_the_main_thread(as_rank):
    as_rank(0)
    ends = []
    thread = threading.Thread(target=lambda: ends.append(end_of_meeting()))
    thread.start()
    thread.join()
    assert isinstance(ends[0], TrainingError)


def stop_me():
    with signals.obeyed("How to go on."), signals.silent(True):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


@pytest.mark.slow
def test_before_ranks_have_met_only_the_first_speaks_of_a_signal():
    process = start(stop_me)
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
