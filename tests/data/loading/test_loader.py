"""Batches: every row once an epoch, the same from memory and from disk."""

import logging
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading import loader as loader_module
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import SPLITS, cached, feature, label, with_labels, write_dataset
from tests.support.splits import ANY, COLUMNS, loader, rows_of, same_all, write


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    path = tmp_path_factory.mktemp("loader") / "train.h5"
    return path, write(path, 50)


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
