"""The order of an epoch depends on the seed and the epoch alone, and mixes rows from afar."""

import numpy as np
import pytest

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.data.loading.order import RowOrder
from tests.support.splits import COLUMNS, feature_map, loader, rows_of, same_all, write


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "train.h5"
    return path, write(path, 50)


def test_set_epoch(split):
    path, _ = split
    plain = loader(path, shuffle=True)
    epochs = [rows_of(plain) for _ in range(3)]
    jumping = loader(path, shuffle=True)
    jumping.set_epoch(2)
    assert rows_of(jumping) == epochs[2]
    jumping.set_epoch(0)
    assert rows_of(jumping) == epochs[0]
    assert rows_of(jumping) == epochs[1]


def test_orders_differ_by_epoch_and_seed(split):
    path, _ = split
    orders = []
    for seed in (0, 1, 2023):
        batches = loader(path, shuffle=True, seed=seed)
        orders += [rows_of(batches) for _ in range(3)]
    orders.append(list(range(50)))
    assert len({tuple(order) for order in orders}) == len(orders)
    again = loader(path, shuffle=True, seed=0)
    assert rows_of(again) == orders[0]


def test_one_window_is_a_uniform_shuffle():
    # Each row is as likely in each place: 6 rows, 3000 epochs, 500 expected in each cell.
    order = RowOrder(rows=6, chunk=2, window=3, shuffle=True, seed=1)
    counts = np.zeros((6, 6))
    for epoch in range(3000):
        (window,) = order.windows(epoch)
        counts[np.arange(6), window.rows()] += 1
    assert (np.abs(counts - 500) < 100).all()


def test_chunks_meet_others_in_each_epoch():
    order = RowOrder(rows=1000, chunk=10, window=5, shuffle=True, seed=1)
    first = [frozenset(next(order.windows(epoch)).starts.tolist()) for epoch in range(5)]
    assert len(set(first)) == 5


def test_windows_mix_far_chunks():
    order = RowOrder(rows=1000, chunk=10, window=5, shuffle=True, seed=1)
    windows = list(order.windows(0))
    assert len(windows) == order.num_windows == 20
    spread = [np.ptp(window.starts) for window in windows]
    assert np.mean(spread) > 400
    rows = windows[0].rows()
    assert (np.diff(rows) == 1).sum() < 15, "rows of a chunk do not stay neighbours"


def test_the_order_depends_on_no_choice_of_columns(tmp_path, monkeypatch):
    """Of rows so wide that several of them are a window, whatever a run reads of them."""
    path = tmp_path / "train.h5"
    values = write(path, 50)
    monkeypatch.setattr(H5Loader, "window_bytes", 500)
    orders = set()
    for names in (tuple(COLUMNS), ("row", "y"), ("row", "watch"), ("seq", "row", "vec")):
        for budget in (0, None):
            batches = loader(path, 8, 3, names, shuffle=True, batch_size=7, memory_budget=budget)
            assert budget is None or batches.num_blocks > 1
            orders.add(tuple(rows_of(batches)))
    (order,) = orders
    assert sorted(order) == values["row"].tolist()


@pytest.mark.parametrize(("row_bytes", "window"), [(4, 128), (512, 128), (516, 127), (1024, 64)])
def test_narrow_rows_are_shuffled_as_ever(row_bytes, window, tmp_path):
    """2^30 bytes of rows are a window: 128 chunks of 2^14 rows up to 512 bytes a row."""
    path = tmp_path / "train.h5"
    columns = {"row": (np.dtype(np.int32), 0), "seq": (np.dtype(np.uint8), row_bytes // 4 - 1)}
    if row_bytes == 4:
        del columns["seq"]
    with store.create(path, 3, columns) as put:
        put(0, {"row": np.arange(3, dtype=np.int32)})
    order = H5Loader(feature_map(("row",)), path)._order
    assert (order.chunk, order.window) == (1 << 14, window)


@pytest.mark.parametrize("most_bytes", [1, 90, 300, 1000])
def test_wide_rows_make_small_windows(split, most_bytes, monkeypatch):
    """A window is bounded in bytes, too, and the batches are those from memory."""
    path, _ = split
    monkeypatch.setattr(H5Loader, "window_bytes", most_bytes)
    stream, memory = (
        loader(path, chunk=8, window=3, shuffle=True, batch_size=5, memory_budget=budget)
        for budget in (0, None)
    )
    row_bytes = memory.memory_bytes // 50
    assert stream.memory_bytes <= max(most_bytes, row_bytes)
    assert stream.memory_bytes < 24 * row_bytes or most_bytes >= 24 * row_bytes
    same_all(stream, memory)


def test_test_split_is_never_shuffled(split):
    path, _ = split
    assert rows_of(loader(path, split="test", shuffle=True)) == list(range(50))
