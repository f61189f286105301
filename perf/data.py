"""Synthetic impressions in the shape of TikTok's: skewed ids, and labels that depend on them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from fuxictr.features import FeatureMap
from torch import Tensor

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.encoding.vocabulary import integer_type
from perf.sizes import Setting

Columns = dict[str, np.ndarray]

FIELDS = (
    "uid",
    "item_id",
    "author_id",
    "item_city",
    "channel",
    "music_id",
    "device_id",
    "video_duration",
)
# What a field's vocabulary has of all rows: users, items and what belongs to them have nearly all.
_SHARES = (3, 9, 3, 0.01, 0.001, 2, 3, 0.01)
_BLOCK = 1_000_000


def vocabulary_sizes(table_rows: int, fields: int = len(FIELDS)) -> dict[str, int]:
    """Return the size of each field's vocabulary, padding included; they add up to about the rows."""
    shares = np.resize(np.array(_SHARES), fields)
    sizes = np.maximum(np.round(shares / shares.sum() * table_rows), 3).astype(int)
    names = [*FIELDS, *(f"field_{i}" for i in range(len(FIELDS), fields))]
    return dict(zip(names, sizes.tolist(), strict=False))


def label_names(tasks: int) -> list[str]:
    """Return the tasks' labels."""
    return [*("finish", "like"), *(f"label_{i}" for i in range(2, tasks))][:tasks]


def feature_map(
    sizes: Mapping[str, int], labels: list[str], folder: Path | str = "."
) -> FeatureMap:
    """Return FuxiCTR's feature map of categorical fields."""
    made = FeatureMap("benchmark", str(folder))
    made.features = OrderedDict(
        (name, {"type": "categorical", "source": "", "padding_idx": 0, "vocab_size": size})
        for name, size in sizes.items()
    )
    made.labels = labels
    made.num_fields = made.get_num_fields()
    made.set_column_index()
    return made


def draw(sizes: Mapping[str, int], labels: list[str], rows: int, seed: int) -> Columns:
    """Return columns of ids, int32 from 1, and of 0/1 labels, float32.

    An id's frequency falls with its number as Zipf's law has it, with exponent 1.
    """
    rng = np.random.default_rng(seed)
    columns = {
        # The inverse of the law's distribution function, log(x) / log(size).
        name: np.maximum(size ** rng.random(rows), 1).astype(np.int32)
        for name, size in sizes.items()
    }
    for task, label in enumerate(labels):
        logit = np.full(rows, -1.0 - task % 3)
        for place, name in enumerate(sizes):
            # A number between -1 and 1 for each id, without a table of them.
            logit += 0.7 * np.sin(columns[name] * (12.9898 + 1.37 * place + 0.61 * task))
        columns[label] = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    return columns


def batches(setting: Setting, count: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield batches of a setting, on its device."""
    sizes, labels = vocabulary_sizes(setting.table_rows, setting.fields), label_names(setting.tasks)
    columns = draw(sizes, labels, count * setting.batch_size, seed)
    device = f"cuda:{setting.gpu}" if setting.gpu >= 0 else "cpu"
    tensors = {name: torch.from_numpy(values).to(device) for name, values in columns.items()}
    for start in range(0, count * setting.batch_size, setting.batch_size):
        yield {name: tensor[start : start + setting.batch_size] for name, tensor in tensors.items()}


def write_h5(path: Path, columns: Columns) -> None:
    """Write columns as a split of our cache."""
    rows = len(next(iter(columns.values())))
    # As narrow as a cache has them.
    types = {name: (integer_type(0, int(column.max())), 0) for name, column in columns.items()}
    with store.create(path, rows, types) as write:
        write(0, columns)


def write_csv(path: Path, rows: int, ids: int, seed: int = 0) -> None:
    """Write impressions of two tasks as a CSV file, in which every id occurs.

    Args:
        path: The file.
        rows: Its rows.
        ids: Distinct ids of all columns together.
        seed: Of the ids drawn.
    """
    sizes, labels = vocabulary_sizes(ids), label_names(2)
    with path.open("wb") as file:
        for start in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - start)
            columns = draw(sizes, labels, count, seed + start)
            for name, size in sizes.items():
                # One row in two brings the next id until all have been there.
                new = np.arange(start // 2 + 1, (start + count) // 2 + 1)[
                    : max(size - start // 2, 0)
                ]
                columns[name][: 2 * len(new) : 2] = new
            frame = pl.DataFrame(columns).with_columns(pl.col(labels).cast(pl.UInt8))
            file.write(frame.write_csv(include_header=start == 0).encode())


def dataset_config(folder: Path, train: Path, valid: Path) -> dict[str, Any]:
    """Return a dataset config, as our cache and FuxiCTR's ``FeatureProcessor`` read it."""
    fields = {"active": True, "dtype": "str", "type": "categorical"}
    return {
        "dataset_id": "benchmark",
        "data_root": str(folder),
        "data_format": "csv",
        "train_data": str(train),
        "valid_data": str(valid),
        "test_data": None,
        "min_categr_count": 1,
        "group_id": None,
        "feature_cols": [{"name": name, **fields} for name in FIELDS],
        "label_col": [{"name": name, "dtype": "float"} for name in label_names(2)],
    }
