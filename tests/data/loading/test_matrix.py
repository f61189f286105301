"""The processes of a machine keep one copy of a split."""

import gc
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.errors import DataError
from tests.support.groups import on_threads
from tests.support.processes import CONTEXT, SECONDS
from tests.support.ranks import on_ranks
from tests.support.splits import loader, same_all, write

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="this system has no memory without a name"
)

ROWS = 50
ROW_BYTES = 48


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "train.h5", ROWS)
    return tmp_path / "train.h5"


def shares():
    """The sizes and shares (PSS) of the splits that this process has mapped, in KiB."""
    text = Path("/proc/self/smaps").read_text()
    areas = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", text)
    return sorted(
        tuple(int(re.search(rf"\n{key}: +(\d+)", area)[1]) for key in ("Size", "Pss"))
        for area in areas
        if "fuxictr_stem rows" in area.partition("\n")[0]
    )


def read(ranks, path):
    batches = loader(path, chunk=1 << 14, window=128, batch_size=1000, host=ranks.host)
    count = sum(len(batch["row"]) for batch in batches)
    ranks.exchange(None)
    found = shares()
    ranks.exchange(None)
    return count, found


@pytest.mark.slow
def test_a_host_has_one_copy(tmp_path):
    rows = 200_000
    write(tmp_path / "train.h5", rows)
    for count, mapped in on_ranks(2, read, tmp_path / "train.h5"):
        assert count == rows
        # A matrix of ids of eight bytes, and one of columns of four.
        sizes = [rows * width / 1024 for width in (8, ROW_BYTES - 8)]
        assert [size for size, _ in mapped] == pytest.approx(sizes, abs=4)
        for size, share in mapped:
            assert share == pytest.approx(size / 2, rel=0.02)


def test_the_budget_of_the_first_decides(path):
    needed = ROWS * ROW_BYTES

    def kept(budgets):
        def of_rank(group):
            return loader(path, host=group, memory_budget=budgets[group.number])

        loaders = on_threads(2, of_rank)
        for each in loaders:
            same_all(each, loader(path))
        return [(each.in_memory, each.host_bytes) for each in loaders]

    assert kept([needed, 0]) == [(True, needed), (True, 0)]
    window = 12 * ROW_BYTES
    assert kept([needed - 1, 0]) == [(False, window), (False, window)]


@pytest.mark.parametrize("place", ["memfd_create", "open"])
def test_without_shared_memory_each_keeps_its_own_if_all_fit(path, monkeypatch, place):
    def refused(*args, **more):
        raise OSError("not here")

    if place == "open":
        monkeypatch.setattr("fuxictr_stem.data.loading.matrix.open", refused, raising=False)
    else:
        monkeypatch.setattr(os, place, refused)
    needed = ROWS * ROW_BYTES
    for budget, in_memory in ((2 * needed, True), (2 * needed - 1, False)):
        loaders = on_threads(2, lambda g, b=budget: loader(path, host=g, memory_budget=b))
        for each in loaders:
            assert each.in_memory == in_memory
            same_all(each, loader(path))


def test_it_is_copied_to_a_device(path):
    device = torch.device("cpu")
    for each in on_threads(2, lambda group: loader(path, host=group, device=device)):
        assert each.on_device
        assert each.host_bytes == 0
        same_all(each, loader(path))


def test_nothing_is_left_open(path):
    before = set(os.listdir("/proc/self/fd"))
    loaders = on_threads(2, lambda group: loader(path, host=group))
    same_all(*loaders)
    del loaders
    assert set(os.listdir("/proc/self/fd")) <= before


def test_damage_is_reported_once(path):
    with store.h5py.File(path) as file:
        chunk = file["vec"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 5] ^= 8
    path.write_bytes(data)
    with pytest.raises(DataError, match="column 'vec' cannot be read"):
        on_threads(2, lambda group: loader(path, host=group))


class PipeGroup:
    """Two processes, of which the first is killed once the other has mapped its rows."""

    count = 2

    def __init__(self, number, pipe):
        self.number, self._pipe = number, pipe
        self.is_first = number == 0

    def from_first(self, work):
        if not self.is_first:
            return self._pipe.recv()
        value = work()
        self._pipe.send(value)
        return value

    def exchange(self, value):
        self._pipe.send(value)
        return [value, self._pipe.recv()]


def share_and_die(pipe, path):
    kept = loader(path, host=PipeGroup(0, pipe))
    assert kept.in_memory
    pipe.recv()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_the_rows_outlive_the_process_that_read_them(path):
    gc.collect()
    before = len(shares())
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=share_and_die, args=(there, path))
    process.start()
    kept = loader(path, host=PipeGroup(1, here))
    here.send("die")
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert kept.in_memory
    same_all(kept, loader(path))
    assert len(shares()) == before + 2
    del kept
    assert len(shares()) == before
