from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.preparers.tiktok import COLUMNS, split_membership
from fuxictr_stem.errors import DataError
from tests.support.raw_files import (
    DATASETS,
    SPLITS,
    as_text,
    dataset_in,
    read_splits,
    write_tiktok,
)


@pytest.mark.parametrize("n", [2, 9, 10, 11, 99, 101, 200, 1000, 1001, 12_345])
def test_tiktok_rows_are_those_of_scikit_learn(n):
    frame = pd.DataFrame({"row": np.arange(n)})
    rest, test = train_test_split(frame, test_size=0.1, random_state=42)
    membership = split_membership(n)
    assert set(np.flatnonzero(membership == 2)) == set(test["row"])
    if len(rest) < 2:  # scikit-learn refuses to split one row
        return
    train, valid = train_test_split(rest, test_size=0.1, random_state=42)
    assert set(np.flatnonzero(membership == 1)) == set(valid["row"])
    assert set(np.flatnonzero(membership == 0)) == set(train["row"])


def test_tiktok_split_sizes_are_the_published_ones():
    rows = DATASETS["tiktok"]["source"]["rows"]
    test = -(-rows["raw"] // 10)
    valid = -(-(rows["raw"] - test) // 10)
    assert (rows["test"], rows["valid"]) == (test, valid)
    assert sum(rows[split] for split in SPLITS) == rows["raw"]
    assert [round(rows[split] / 1e6, 1) for split in SPLITS] == [223.4, 24.8, 27.6]


def test_tiktok_splits_hold_the_rows_in_file_order(tmp_path, block_bytes):
    frame = write_tiktok(tmp_path / "raw", 1003)
    dataset = dataset_in(tmp_path, "tiktok")
    prepare(dataset)
    rest, test = train_test_split(frame, test_size=0.1, random_state=42)
    train, valid = train_test_split(rest, test_size=0.1, random_state=42)
    for split, expected in zip(SPLITS, (train, valid, test), strict=True):
        written = read_splits(dataset)[split]
        assert written.columns == list(COLUMNS)
        assert written.rows() == as_text(expected.sort_index())


def test_tiktok_takes_a_last_line_without_line_end(tmp_path):
    write_tiktok(tmp_path / "raw", 50)
    path = tmp_path / "raw" / "final_track1_train.txt"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    dataset = dataset_in(tmp_path, "tiktok")
    prepare(dataset)
    assert sum(frame.height for frame in read_splits(dataset).values()) == 50


def test_tiktok_real_rows(tmp_path, stem_data):
    folder = stem_data / "tiktok"
    dataset = dataset_in(tmp_path, "tiktok", raw_dir=str(folder))
    prepare(dataset)
    splits = read_splits(dataset)
    assert {split: frame.height for split, frame in splits.items()} == {
        "train": 162,
        "valid": 18,
        "test": 20,
    }
    lines = (folder / "final_track1_train.sample.txt").read_text().splitlines()
    written = ["\t".join(row) for frame in splits.values() for row in frame.rows()]
    assert sorted(written) == sorted(lines)


def test_tiktok_wants_one_raw_file(tmp_path):
    write_tiktok(tmp_path / "raw", 50)
    (tmp_path / "raw" / "final_track1_train.sample.txt").touch()
    with pytest.raises(DataError, match="More than one.*sample.txt, final_track1_train.txt"):
        prepare(dataset_in(tmp_path, "tiktok"))
