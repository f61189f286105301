"""The rows of splits are written in order, and a fault of writing is one message."""

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError, OutputError
from tests.support.datasets import (
    COLUMNS,
    SPLITS,
    assert_same,
    built,
    feature,
    frames,
    fuxictr_says,
    label,
    with_labels,
    write_dataset,
)
from tests.support.encoding_cases import CASES
from tests.support.small_caches import FEATURES, ROWS


@pytest.mark.parametrize(
    ("data_format", "message"),
    # A CSV file is read once, for all passes.
    [
        ("csv", "its files changed while they were read"),
        ("parquet", "valid had 4 rows and then 3"),
    ],
)
def test_rows_that_change_between_passes_are_rejected(tmp_path, monkeypatch, data_format, message):
    from fuxictr_stem.data.cache import build as build_module

    frames = {split: with_labels(ROWS, ("y", "z")) for split in SPLITS}
    labels = [label("y"), label("z")]
    dataset = write_dataset(tmp_path, frames, FEATURES, labels, data_format, group_id="group")
    check = build_module.check_source

    def shrink(*args):
        stats = check(*args)
        shorter = frames["valid"].head(-1)
        write = shorter.write_csv if data_format == "csv" else shorter.write_parquet
        write(dataset["valid_data"])
        return stats

    monkeypatch.setattr(build_module, "check_source", shrink)
    with pytest.raises(DataError, match=message):
        open_cache(dataset)


def test_an_error_of_writing_names_the_folder(dataset, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fuxictr_stem.data.cache.write_splits.store.create", full)
    with pytest.raises(OutputError, match="the cache could not be written: .*No space left"):
        open_cache(dataset)


@pytest.mark.parametrize("block_rows", [1, 2, 5])
def test_blocks_join_in_order(tmp_path, block_rows):
    dataset = write_dataset(tmp_path, frames(*COLUMNS), CASES["all"])
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", block_rows), said)


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_many_blocks_of_parts(tmp_path, data_format):
    rng = np.random.default_rng(5)
    rows = 30_000
    parts = with_labels(
        {
            "cat": rng.zipf(1.3, rows) % 5000,
            "num": rng.integers(-1000, 1000, rows) / 4,
            "seq": [f"{a},{b}" for a, b in rng.integers(0, 300, (rows, 2))],
        }
    ).with_columns(pl.col("cat").cast(pl.String))
    features = [
        feature("cat", min_categr_count=3),
        feature("num", "numeric", "float"),
        feature("seq", "sequence", splitter=",", padding="pre"),
    ]
    small = {"train": parts[:100], "valid": parts[100:300], "test": parts[:9]}
    dataset = write_dataset(tmp_path, small, features, data_format=data_format)
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, start in enumerate(range(0, rows, 7000)):
        part = parts[start : start + 7000]
        getattr(part, f"write_{data_format}")(folder / f"part-{i}.{data_format}")
    dataset["train_data"] = str(folder)
    said, _ = fuxictr_says(dataset, tmp_path / "oracle")
    assert_same(built(dataset, tmp_path / "blocks", 1000), said)
