"""The data of a run: its device, its cache and its batches."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.run_data import check_batches, check_device, make_loader, name_of_data, open_data


def test_fewer_devices_than_ranks_are_one_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for gpu, processes in ((-1, 9), (0, 2), (1, 1)):
        check_device(gpu, processes)
    with pytest.raises(ConfigError, match="--gpu 1: .* 0 to 1, and 2 processes here need one each"):
        check_device(1, 2)


@pytest.mark.parametrize(
    ("layer", "batch_size", "rows", "is_rejected"),
    [
        (torch.nn.BatchNorm1d(3), 1, 10, True),
        (torch.nn.BatchNorm1d(3), 3, 10, True),
        (torch.nn.BatchNorm1d(3), 4, 10, False),
        (torch.nn.BatchNorm1d(3), 16, 10, False),
        (torch.nn.Linear(3, 3), 1, 10, False),
        (torch.nn.Linear(3, 3), 3, 10, False),
    ],
)
def test_a_batch_of_one_row_is_rejected_where_rows_are_normalised(
    layer, batch_size, rows, is_rejected
):
    train = SimpleNamespace(batch_size=batch_size, num_samples=rows)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), layer)
    if is_rejected:
        with pytest.raises(
            ConfigError, match=f"batch_size: {batch_size} leaves a batch of one row"
        ):
            check_batches(model, train)
    else:
        check_batches(model, train)


def test_the_data_of_a_run_are_its_cache_and_the_batches_of_its_config(project):
    project.write()
    params = load_experiment("config", "toy_test")
    cache = open_data(params)
    assert name_of_data(params) == cache.folder.name
    model = SimpleNamespace(feature_map=cache.feature_map(params), device=torch.device("cpu"))
    items = {}
    for split in cache.rows:
        loader = make_loader(params, model, cache, split, memory_budget=10**9)
        assert loader.in_memory
        items[split] = torch.cat([batch["item"] for batch in loader]).tolist()
        in_file = cache.column(split, "item").tolist()
        assert sorted(items[split]) == sorted(in_file)
        assert (items[split] == in_file) == (split != "train"), "train alone is shuffled"
    for budget, in_memory in ((0, False), (10**9, True)):
        other = params | {"memory_budget": budget}
        assert make_loader(other, model, cache, "train", 10**9 - budget).in_memory == in_memory
    Path(params["train_data"]).unlink()
    assert name_of_data(params) is None
