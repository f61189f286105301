"""Batches: every row once an epoch, the same from memory and from disk, resumable anywhere."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxictr_stem.data import H5Loader, open_cache
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.order import RowOrder
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime import memory
from fuxictr_stem.runtime.memory import available_bytes
from tests.support.datasets import SPLITS, cached, feature, label, with_labels, write_dataset

COLUMNS = {
    "id": (np.dtype(np.uint8), 0),
    "row": (np.dtype(np.int32), 0),
    "seq": (np.dtype(np.uint16), 3),
    "big": (np.dtype(np.int64), 0),
    "num": (np.dtype(np.float32), 0),
    "vec": (np.dtype(np.float32), 2),
    "y": (np.dtype(np.uint8), 0),
    "watch": (np.dtype(np.float32), 0),
}
LABELS = ["y", "watch"]


def write(path, rows, names=tuple(COLUMNS)):
    """Write a split whose column ``row`` numbers the rows and whose others follow from it."""
    rng = np.random.default_rng(rows)
    values = {}
    for name in names:
        dtype, width = COLUMNS[name]
        shape = (rows, width) if width else (rows,)
        drawn = rng.integers(0, 200, shape) if dtype.kind in "iu" else rng.normal(size=shape)
        values[name] = drawn.astype(dtype)
    values["row"] = np.arange(rows, dtype=np.int32)
    if "big" in values:
        values["big"] += 2**40
    with store.create(path, rows, {name: COLUMNS[name] for name in values}) as put:
        put(0, values)
    return values


def feature_map(names=tuple(COLUMNS), labels=LABELS):
    return SimpleNamespace(
        features={n: {} for n in names if n not in LABELS},
        labels=[n for n in labels if n in names],
    )


def loader(path, chunk=4, window=3, names=tuple(COLUMNS), **more):
    kind = type("Small", (H5Loader,), {"chunk_rows": chunk, "window_chunks": window})
    return kind(feature_map(names), path, **more)


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert torch.equal(one[name], other[name]), name


def same_all(ones, others):
    ones, others = list(ones), list(others)
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        same(one, other)


def rows_of(batches):
    return [row for batch in batches for row in batch["row"].tolist()]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "train.h5"
    return path, write(path, 50)


ANY = {
    "rows": st.integers(1, 60),
    "batch_size": st.integers(1, 70),
    "chunk": st.integers(1, 20),
    "window": st.integers(1, 5),
    "shuffle": st.booleans(),
    "drop_last": st.booleans(),
    "seed": st.integers(0, 2**33),
}


@given(**ANY)
@settings(max_examples=150, deadline=None)
def test_memory_and_stream_are_the_same(
    tmp_path_factory, rows, batch_size, chunk, window, shuffle, drop_last, seed
):
    path = tmp_path_factory.getbasetemp() / f"rows-{rows}.h5"
    values = write(path, rows)
    more = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "seed": seed}
    memory = loader(path, chunk, window, memory_budget=10**9, **more)
    stream = loader(path, chunk, window, memory_budget=0, **more)
    assert memory.in_memory
    assert not stream.in_memory
    assert (memory.num_blocks, stream.num_blocks) == (1, -(-rows // (chunk * window)))
    for _ in range(2):
        batches = list(memory)
        same_all(batches, stream)
        kept = rows - rows % batch_size if drop_last else rows
        assert len(batches) == len(memory) == memory.num_batches == stream.num_batches
        assert len(batches) == (rows // batch_size if drop_last else -(-rows // batch_size))
        assert all(len(batch["row"]) == batch_size for batch in batches[:-1])
        seen = rows_of(batches)
        assert len(seen) == len(set(seen)) == kept
        if not shuffle:
            assert seen == list(range(kept))
        for name, column in values.items():
            if batches:
                got = torch.cat([batch[name] for batch in batches]).numpy()
                np.testing.assert_array_equal(got, column[seen])


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


def test_columns_and_types(split):
    path, values = split
    batch = next(iter(loader(path, batch_size=8)))
    assert list(batch) == ["id", "row", "seq", "big", "num", "vec", "y", "watch"]
    dtypes = {name: tensor.dtype for name, tensor in batch.items()}
    assert dtypes == {
        **dict.fromkeys(("id", "row", "seq"), torch.int32),
        "big": torch.int64,
        **dict.fromkeys(("num", "vec", "y", "watch"), torch.float32),
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    assert shapes == dict.fromkeys(COLUMNS, (8,)) | {"seq": (8, 3), "vec": (8, 2)}
    shared = [batch[name].untyped_storage().data_ptr() for name in ("id", "row", "seq")]
    assert len(set(shared)) == 1, "views of one matrix"


def test_a_subset_of_columns_reads_nothing_else(split, monkeypatch):
    path, values = split
    read, seen = store.read, set()

    def watch(data, start, stop):
        seen.add(data.name.lstrip("/"))
        return read(data, start, stop)

    monkeypatch.setattr(store, "read", watch)
    for budget in (0, 10**9):
        seen.clear()
        batches = list(loader(path, names=("seq", "row", "watch"), memory_budget=budget))
        assert list(batches[0]) == ["seq", "row", "watch"]
        assert seen == {"seq", "row", "watch"}
        got = torch.cat([batch["watch"] for batch in batches]).numpy()
        np.testing.assert_array_equal(got, values["watch"])


def test_batches_are_copies(split):
    path, values = split
    batches = loader(path)
    for batch in batches:
        for tensor in batch.values():
            tensor.zero_()
    got = torch.cat([batch["row"] for batch in batches]).numpy()
    np.testing.assert_array_equal(got, values["row"])


def test_streaming_holds_one_window(split, monkeypatch):
    from fuxictr_stem.data.loading import loader as loader_module

    path, _ = split
    read, alive = loader_module.read_rows, []

    def watch(*args):
        import gc
        import weakref

        gc.collect()
        assert not [matrix for matrix in alive if matrix() is not None]
        matrices = read(*args)
        assert len(matrices[0]) <= 12
        alive.extend(weakref.ref(matrix) for matrix in matrices)
        return matrices

    monkeypatch.setattr(loader_module, "read_rows", watch)
    for shuffle in (False, True):
        alive.clear()
        assert len(rows_of(loader(path, shuffle=shuffle, batch_size=5, memory_budget=0))) == 50
        assert len(alive) == 2 * 5


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


def test_resuming_skips_windows_without_reading(split, monkeypatch):
    from fuxictr_stem.data.loading import loader as loader_module

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


def test_the_budget_decides(split, caplog):
    path, _ = split
    caplog.set_level(logging.DEBUG)
    row_bytes = 4 * 5 + 8 + 4 * 5
    assert loader(path, memory_budget=50 * row_bytes).in_memory
    assert not loader(path, memory_budget=50 * row_bytes - 1).in_memory
    assert [r.message.split()[-1] for r in caplog.records] == ["memory", "streamed"]
    assert loader(path).in_memory


def test_the_devices_budget_decides_what_lies_there(split):
    path, _ = split
    needed = loader(path).memory_bytes
    device = torch.device("cpu")
    assert loader(path, device=device, device_budget=needed).on_device
    assert not loader(path, device=device, device_budget=needed - 1).on_device
    assert loader(path, device=device).on_device
    assert not loader(path).on_device
    same_all(loader(path, device=device, device_budget=0), loader(path))


def test_available_memory(tmp_path, monkeypatch):
    assert 2**20 < available_bytes() < 2**50
    files = [tmp_path / name for name in ("max", "current", "stat")]
    monkeypatch.setattr(memory, "_CGROUPS", (tuple(map(str, files)),))
    machine = available_bytes()
    for content in (["5000\n", "3000\n", "anon 7\ninactive_file 400\n"], ["max\n", "3000\n", ""]):
        for file, text in zip(files, content, strict=True):
            file.write_text(text)
        limited = content[0] != "max\n"
        assert available_bytes() == 2400 if limited else available_bytes() > machine // 2


def test_test_split_is_never_shuffled(split):
    path, _ = split
    assert rows_of(loader(path, split="test", shuffle=True)) == list(range(50))


def test_path_without_suffix_and_unknown_parameters(split):
    path, _ = split
    batches = loader(str(path)[:-3], num_workers=3, data_format="npz", data_loader=H5Loader)
    assert batches.num_samples == 50


@pytest.mark.parametrize(
    ("more", "text"),
    [({"batch_size": 0}, "batch_size must be 1 or more"), ({"seed": -1}, "seed must be 0 or more")],
)
def test_arguments_out_of_range(split, more, text):
    with pytest.raises(ConfigError, match=text):
        loader(split[0], **more)


@pytest.mark.parametrize("state", [{"epoch": -1, "batch": 0}, {"epoch": 0, "batch": 8}])
def test_positions_that_are_not_there(split, state):
    batches = loader(split[0], batch_size=7, drop_last=True)
    with pytest.raises(ConfigError, match="Resume with the batch_size"):
        batches.load_state_dict(state | {"seed": 1})
    assert batches.state_dict() == {"epoch": 0, "batch": 0, "seed": 2023}


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="no cache file"):
        loader(tmp_path / "train.h5")
    (tmp_path / "bad.h5").write_bytes(b"no h5")
    with pytest.raises(DataError, match="bad.h5 is damaged"):
        loader(tmp_path / "bad.h5")


def test_columns_of_different_length(tmp_path):
    path = tmp_path / "train.h5"
    write(path, 9)
    with store.h5py.File(path, "r+") as file:
        del file["num"]
        file["num"] = np.zeros(8, np.float32)
    with pytest.raises(DataError, match="different lengths"):
        loader(path)


def test_a_damaged_block_stops_a_streaming_pass(tmp_path):
    path = tmp_path / "train.h5"
    write(path, 50)
    with store.h5py.File(path) as file:
        chunk = file["vec"].id.get_chunk_info(0)
    batches = loader(path, memory_budget=0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 5] ^= 8
    path.write_bytes(data)
    with pytest.raises(DataError, match="column 'vec' cannot be read.*fuxictr_stem cache clear"):
        list(batches)


def test_through_fuxictrs_rank_data_loader(tmp_path):
    from fuxictr.pytorch.dataloaders import RankDataLoader

    rows = {"cat": list("abcab"), "seq": ["a^b", "", "c", "a", "b"], "num": [1.0, 2, 3, 4, 5]}
    frames = {split: with_labels(rows) for split in SPLITS}
    features = [
        feature("cat"),
        feature("seq", "sequence"),
        feature("num", "numeric", "float"),
        feature("group", "meta", preprocess="copy_from(cat)"),
    ]
    dataset = write_dataset(tmp_path, frames, features, [label()], group_id="group")
    cache = open_cache(dataset)
    feature_map = cache.feature_map({"group_id": "group", "use_features": ["num", "seq"]})
    train, valid = RankDataLoader(
        feature_map,
        stage="train",
        data_loader=H5Loader,
        train_data=str(cache.path("train")),
        valid_data=str(cache.path("valid")),
        batch_size=2,
        shuffle=True,
        num_workers=1,
    )
    assert len(train) == len(valid) == 3
    written = cached(cache)["valid"]
    batches = list(valid)
    assert list(batches[0]) == ["num", "seq", "group", "y"]
    for name in batches[0]:
        got = torch.cat([batch[name] for batch in batches]).numpy()
        np.testing.assert_array_equal(got, written[name])
    drawn = torch.cat([batch["num"] for batch in train]).tolist()
    assert sorted(drawn) == [1, 2, 3, 4, 5]
    test = RankDataLoader(
        feature_map, stage="test", data_loader=H5Loader, test_data=str(cache.path("test"))
    )
    assert test.num_samples == 5
    if "ray" in sys.modules:
        assert not sys.modules["ray"].is_initialized()


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


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_devices_budget_holds_for_a_window_too(split, shuffle, monkeypatch):
    path, _ = split
    moved, to = [], torch.Tensor.to

    def watch(tensor, *args, **more):
        moved.append(tensor.nbytes)
        return to(tensor, *args, **more)

    monkeypatch.setattr(torch.Tensor, "to", watch)
    device = torch.device("cpu")
    more = {"shuffle": shuffle, "batch_size": 5, "memory_budget": 0, "device": device}
    needed = loader(path, **more).memory_bytes
    row_bytes = needed // 12
    assert needed == 12 * row_bytes, "a window"
    for budget, there in ((needed - 1, False), (needed, True)):
        moved.clear()
        batches = loader(path, device_budget=budget, **more)
        same_all(batches, loader(path, shuffle=shuffle, batch_size=5))
        assert batches.on_device == there
        assert sum(moved) == (50 * row_bytes if there else 0)
