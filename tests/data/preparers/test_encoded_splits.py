"""The prepared parquet files have the ids, rows and vocabularies of CSV files with the raw files' text."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.preparers.tiktok import COLUMNS, split_membership
from tests.support.datasets import assert_same, cached
from tests.support.raw_files import (
    DATASETS,
    SPLITS,
    cut_per_user,
    dataset_in,
    kuairand_expected,
    kuairand_tables,
    write_kuairand,
    write_qkvideo,
    write_tiktok,
)


def tiktok_splits(path):
    """The lines of the raw file by Python's csv module, each in its split."""
    with path.open(newline="") as file:
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in csv.reader(file, delimiter="\t")]
    membership = split_membership(len(rows))
    return {s: [rows[i] for i in np.flatnonzero(membership == n)] for n, s in enumerate(SPLITS)}


def raw_and_splits(dataset_id, folder, dataset):
    """Write raw files; return each split's rows, by other ways than the preparers'."""
    raw = folder / "raw"
    if dataset_id == "tiktok":
        write_tiktok(raw, 900)
        path = raw / "final_track1_train.txt"
        # Numbers written in other ways are the same numbers.
        lines = path.read_text().splitlines()
        lines[3] = lines[3].replace("\t", "\t0", 1).replace("\t0-", "\t-", 1)
        path.write_text("\n".join(lines))
        splits = tiktok_splits(path)
        for rows in splits.values():
            for row in rows:
                row.update({name: str(int(value)) for name, value in row.items()})
        return splits
    if dataset_id == "tiny_sample":
        prepare(dataset)
        return tiktok_splits(raw / "final_track1_train.txt")
    if dataset_id == "qkvideo":
        frame = write_qkvideo(raw, np.arange(500) % 7)
        frame["item_id"] %= 40
        frame["hist_1"] = ["01", "", "1.0", " 1", "a,b"] * 100
        frame["age"] = [None, 1.0, 2.0, 1.0] * 125
        frame.to_csv(raw / "ctr_data_1M.csv", index=False)
        text = pd.read_csv(raw / "ctr_data_1M.csv", dtype=str, keep_default_na=False)
        text["user_id"] = text["user_id"].astype(int)
        return {
            s: [dict(zip(text, row, strict=True)) for row in part]
            for s, part in cut_per_user(text).items()
        }
    write_kuairand(raw, kuairand_tables())
    return kuairand_expected(kuairand_tables(), 20220507, 20220508)


@pytest.mark.parametrize("dataset_id", ["tiktok", "qkvideo", "kuairand_pure", "tiny_sample"])
def test_splits_are_encoded_as_csv_files_were(tmp_path, dataset_id):
    prepared = {**dataset_in(tmp_path, dataset_id), "min_categr_count": 2}
    splits = raw_and_splits(dataset_id, tmp_path, prepared)
    prepare(prepared)
    as_csv = {**prepared, "data_format": "csv"}
    for split, rows in splits.items():
        as_csv[f"{split}_data"] = str(tmp_path / f"{split}.csv")
        with Path(as_csv[f"{split}_data"]).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    caches = [open_cache(complete(dataset)) for dataset in (prepared, as_csv)]
    found, expected = map(cached, caches)
    assert_same(found, expected)
    for split in SPLITS:
        for name, values in expected[split].items():
            assert found[split][name].dtype == values.dtype, name
    for name in ("feature_vocab.json", "feature_map.json"):
        here, there = (json.loads((cache.folder / name).read_text()) for cache in caches)
        assert here == there
    first, second = caches
    assert (first.labels, first.unknown) == (second.labels, second.unknown)
    assert (first.missing, first.remarks) == (second.missing, second.remarks)


def complete(dataset):
    """The dataset with a dict per column, as a checked config has it."""
    features = [
        {**column, "name": name}
        for column in dataset["feature_cols"]
        for name in np.atleast_1d(column["name"]).tolist()
    ]
    assert DATASETS[dataset["dataset_id"]]["data_format"] == "parquet"
    return {**dataset, "feature_cols": features}
