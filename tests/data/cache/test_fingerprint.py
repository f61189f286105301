"""The content of source files, large ones by samples."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fuxictr_stem.data.cache import fingerprint as fingerprint_module
from fuxictr_stem.data.cache.fingerprint import content_digest, fingerprint
from fuxictr_stem.data.source.files import find_files
from tests.support.datasets import SPLITS, label
from tests.support.small_caches import FEATURES


def test_large_files_count_by_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint_module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(fingerprint_module, "_MIB", 10)
    path = tmp_path / "large"
    data = bytes(range(200)) * 100
    path.write_bytes(data)
    first = content_digest(path)
    os.utime(path, ns=(0, 5))
    changed_time = content_digest(path)
    assert changed_time != first
    for at, seen in ((0, True), (len(data) - 1, True), (len(data) // 2, None)):
        path.write_bytes(data[:at] + b"!" + data[at + 1 :])
        os.utime(path, ns=(0, 5))
        if seen:
            assert content_digest(path) != changed_time
    path.write_bytes(data[:-1])
    os.utime(path, ns=(0, 5))
    assert content_digest(path) != changed_time


CHANGES = {
    "min_categr_count": lambda d: d | {"min_categr_count": 2},
    "group_id": lambda d: d | {"group_id": None},
    "a feature": lambda d: d | {"feature_cols": FEATURES[:3]},
    "an attribute": lambda d: (
        d | {"feature_cols": [{**FEATURES[0], "embedding_dim": 8}, *FEATURES[1:]]}
    ),
    "order": lambda d: d | {"feature_cols": [*FEATURES[:2], FEATURES[3], FEATURES[2]]},
    "labels": lambda d: d | {"label_col": [label("y")]},
    "no test": lambda d: d | {"test_data": None},
    "swapped": lambda d: d | {"sep": ";"},
    "format": lambda d: d | {"data_format": "parquet"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_depends_on_the_config(dataset, change):
    files = find_files(dataset)
    changed = CHANGES[change](dataset)
    files_now = {split: paths for split, paths in files.items() if changed[f"{split}_data"]}
    assert fingerprint(changed, files_now) != fingerprint(dataset, files)


def test_the_fingerprint_depends_on_the_versions(dataset, monkeypatch):
    files = find_files(dataset)
    first = fingerprint(dataset, files)
    monkeypatch.setattr(fingerprint_module, "FORMAT", 0)
    second = fingerprint(dataset, files)
    monkeypatch.setattr("fuxictr.__version__", "2.3.99")
    assert len({first, second, fingerprint(dataset, files)}) == 3


def test_the_fingerprint_is_of_content_not_of_places(dataset, tmp_path):
    files = find_files(dataset)
    first = fingerprint(dataset, files)
    moved = {}
    for split in SPLITS:
        moved[f"{split}_data"] = str(
            shutil.copy(dataset[f"{split}_data"], tmp_path / f"new-{split}.csv")
        )
    other = dataset | moved | {"dataset_id": "other", "data_root": "elsewhere"}
    assert fingerprint(other, find_files(other)) == first
    for split in SPLITS:
        path = Path(moved[f"{split}_data"])
        text = path.read_text()
        path.write_text(text.replace("2.5", "2.6"))
        assert fingerprint(other, find_files(other)) != first
        path.write_text(text)
    assert fingerprint(other, find_files(other)) == first


def test_the_fingerprint_depends_on_pretrained_vectors(dataset, tmp_path):
    path = tmp_path / "v.npz"
    np.savez(path, key=np.array(["a"]), value=np.zeros((1, 2)))
    dataset["feature_cols"] = [{**FEATURES[0], "pretrained_emb": str(path)}, *FEATURES[1:]]
    first = fingerprint(dataset, find_files(dataset))
    np.savez(path, key=np.array(["b"]), value=np.zeros((1, 2)))
    assert fingerprint(dataset, find_files(dataset)) != first
