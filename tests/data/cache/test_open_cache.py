"""A cache is built once, named by what it depends on, and never read when it is not whole."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import pytest
from filelock import FileLock

from fuxictr_stem.data.cache import open_cache as cache_module
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.errors import DataError, OutputError
from tests.support.datasets import SPLITS, assert_same, cached, folders_in
from tests.support.small_caches import builds, home


def test_what_is_in_the_folder(dataset):
    cache = open_cache(dataset)
    assert cache.folder.parent == home(dataset)
    assert sorted(path.name for path in cache.folder.iterdir()) == sorted(
        [
            "manifest.json",
            "encoder.json",
            # Of cat and seq, which share a table, and of group.
            "vocabulary_0.arrow",
            "vocabulary_1.arrow",
            "feature_map.json",
            "feature_vocab.json",
            "train.h5",
            "valid.h5",
            "test.h5",
        ]
    )
    assert sorted(path.name for path in home(dataset).iterdir()) == sorted(
        [cache.folder.name, f"{cache.folder.name}.lock"]
    )
    manifest = json.loads((cache.folder / "manifest.json").read_text())
    assert manifest["rows"] == cache.rows == dict.fromkeys(SPLITS, 4)
    assert manifest["columns"]["seq"] == {"dtype": "uint8", "shape": [3]}
    assert manifest["columns"]["num"] == {"dtype": "float32", "shape": []}
    assert manifest["files"]["train.h5"]["bytes"] == (cache.folder / "train.h5").stat().st_size
    with h5py.File(cache.path("train")) as file:
        assert all(file[name].fletcher32 and file[name].chunks for name in file)


def test_no_test_split(dataset):
    dataset["test_data"] = None
    cache = open_cache(dataset)
    assert cache.path("valid") == cache.folder / "valid.h5"
    assert set(cache.rows) == {"train", "valid"}


def test_it_is_built_once(dataset, caplog):
    caplog.set_level(logging.INFO)
    first = open_cache(dataset)
    again = open_cache({**dataset, "batch_size": 7, "model": "another run's parameters"})
    assert again == first
    assert builds(caplog) == 1


def test_opening_imports_no_preprocessing(dataset):
    # fuxictr.preprocess takes seconds: ray, scikit-learn.
    open_cache(dataset)
    code = (
        "import json, sys\n"
        "from fuxictr_stem.data.cache.open_cache import open_cache\n"
        "open_cache(json.loads(sys.argv[1]))\n"
        "print([m for m in ('ray', 'sklearn', 'fuxictr.preprocess') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, json.dumps(dataset)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"


def test_an_open_cache_needs_no_writing(dataset):
    cache = open_cache(dataset)
    for name in os.listdir(home(dataset)):
        if name.endswith(".lock"):
            (home(dataset) / name).unlink()
    folders = [home(dataset), cache.folder]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert open_cache(dataset) == cache
        assert not list(home(dataset).glob("*.lock"))
    finally:
        for folder in folders:
            folder.chmod(0o755)


def damage_manifest(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])
    return path


def change_manifest(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"positives": 2', '"positives": 3', 1))
    return path


def old_manifest(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))
    return path


def no_manifest(folder):
    (folder / "manifest.json").unlink()
    return folder / "manifest.json"


def change_map(folder):
    path = folder / "feature_map.json"
    path.write_text(path.read_text().replace('"max_len": 3', '"max_len": 4'))
    return path


def no_vocabulary(folder):
    (folder / "feature_vocab.json").unlink()
    return folder / "feature_vocab.json"


def cut_h5(folder):
    path = folder / "valid.h5"
    path.write_bytes(path.read_bytes()[:-100])
    return path


def no_h5(folder):
    (folder / "test.h5").unlink()
    return folder / "test.h5"


def header_h5(folder):
    # The size stays.
    path = folder / "train.h5"
    path.write_bytes(bytes(64) + path.read_bytes()[64:])
    return path


DAMAGES = [
    *(damage_manifest, change_manifest, old_manifest, no_manifest, change_map, no_vocabulary),
    *(cut_h5, no_h5, header_h5),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_built_anew(dataset, caplog, damage):
    cache = open_cache(dataset)
    sound = cached(cache)
    path = damage(cache.folder)
    caplog.clear()
    caplog.set_level(logging.INFO)
    again = open_cache(dataset)
    # Older h5py (3.11) writes the time into its files.
    assert again.files.keys() == cache.files.keys()
    assert again == cache.model_copy(update={"files": again.files})
    assert_same(cached(again), sound)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len([w for w in warnings if str(path) in w and "is rebuilt" in w]) == 1
    assert builds(caplog) == 1
    assert not list(home(dataset).glob("*.tmp-*"))


def test_a_damaged_block_is_named_when_it_is_read(dataset):
    cache = open_cache(dataset)
    path = cache.path("train")
    with h5py.File(path) as file:
        chunk = file["num"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset] ^= 1
    path.write_bytes(data)
    # Sizes and names are as they were: the checksum tells.
    assert open_cache(dataset) == cache
    with pytest.raises(DataError) as caught:
        H5Loader(cache.feature_map({}), path)
    found = str(caught.value)
    assert f"{path} is damaged: column 'num'" in found
    assert "fuxictr_stem cache clear" in found
    assert f"delete the folder {cache.folder}" in found


def test_a_missing_column_is_named(dataset):
    cache = open_cache(dataset)
    with h5py.File(cache.path("train"), "r+") as file:
        file.move("cat", "cats")
    with pytest.raises(DataError, match="has no column 'cat'. Did you mean 'cats'"):
        H5Loader(cache.feature_map({}), cache.path("train"))


def test_files_that_change_during_the_build_are_refused(dataset, monkeypatch):
    build = cache_module.build

    def slow(*args, **more):
        build(*args, **more)
        path = Path(dataset["train_data"])
        path.write_text(path.read_text().replace("2.5", "2.6"))

    monkeypatch.setattr(cache_module, "build", slow)
    with pytest.raises(DataError, match="changed while they were read"):
        open_cache(dataset)
    assert not folders_in(home(dataset))


def test_a_folder_that_cannot_be_written(dataset, tmp_path, monkeypatch):
    # A file where the folder should be: refused to root, too.
    (tmp_path / "caches").write_text("")
    monkeypatch.setattr(cache_module, "build", lambda *a, **m: pytest.fail("work before"))
    with pytest.raises(OutputError, match="data_root: the folder .* cannot be written"):
        open_cache(dataset)


def test_a_waiting_run_finds_what_the_other_built(dataset, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    sound = open_cache(dataset)
    away = tmp_path / "away"
    sound.folder.rename(away)
    found = []
    with FileLock(home(dataset) / f"{sound.folder.name}.lock"):
        thread = threading.Thread(target=lambda: found.append(open_cache(dataset)))
        thread.start()
        for _ in range(1000):
            if "Waiting for another run" in caplog.text:
                break
            time.sleep(0.01)
        away.rename(sound.folder)
    thread.join(60)
    assert found == [sound]
    assert builds(caplog) == 1


def test_feature_map(dataset):
    cache = open_cache(dataset)
    params = {"group_id": "group", "embedding_dim": 7}
    whole = cache.feature_map(params)
    assert list(whole.features) == ["cat", "seq", "num", "group"]
    assert whole.labels == ["y", "z"]
    assert (whole.group_id, whole.default_emb_dim, whole.num_fields) == ("group", 7, 3)
    assert whole.data_dir == str(cache.folder)


def test_use_features_keeps_the_groups_and_counts_what_is_used(dataset):
    cache = open_cache(dataset)
    specs = [{"name": "num", "embedding_dim": 5}]
    params = {"group_id": "group", "use_features": ["num", "cat"], "feature_specs": specs}
    some = cache.feature_map(params)
    assert list(some.features) == ["num", "cat", "group"]
    assert some.num_fields == 2
    assert some.features["num"]["embedding_dim"] == 5
    assert params["use_features"] == ["num", "cat"], "the caller's list stays"
    without = cache.feature_map({"use_features": ["cat"]})
    assert list(without.features) == ["cat"]
