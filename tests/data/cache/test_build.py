"""What a build makes, alone or by several processes: the same cache, byte for byte, or nothing."""

import json
import shutil
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import polars as pl
import pytest

from fuxictr_stem import registry
from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache import write_splits
from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding import encode
from fuxictr_stem.data.source import csv_files
from fuxictr_stem.errors import ConfigError, DataError, OutputError
from tests.support import datasets
from tests.support.datasets import (
    SPLITS,
    cached,
    feature,
    folders_in,
    label,
    with_labels,
    write_dataset,
)
from tests.support.groups import on_threads
from tests.support.processes import killed_at
from tests.support.small_caches import home

LABELS = [label("y"), label("z", missing=np.nan), label("w")]


def rows_of(split, rows):
    """Rows of all kinds of columns, with what is missing, unknown or odd in some of them."""
    rng = np.random.default_rng([rows, SPLITS.index(split)])
    words = np.array(["a", "b", "c", "d", "a^b", "zz", "01", "1.0", None], dtype=object)
    number = rng.normal(size=rows).round(3)
    frame = pl.DataFrame(
        {
            "word": rng.choice(words, rows).tolist(),
            "user": rng.zipf(1.4, rows) % 300,
            "code": rng.integers(-9, 9, rows),
            "seq": ["^".join(rng.choice(list("abcdefg"), rng.integers(0, 5))) for _ in range(rows)],
            "num": [None if i % 7 == 3 else x for i, x in enumerate(number)],
            "scaled": rng.normal(size=rows).round(3) * 50,
            "large": rng.integers(2**24, 2**30, rows).astype(float),
            "y": (np.arange(rows) % 2).astype(float),
            "z": [None if i % 5 == 2 else float(i % 3 == 1) for i in range(rows)],
            "w": rng.integers(0, 4, rows).astype(float),
            "vec": rng.normal(size=(rows, 2)),
            "day": [9] * rows,
        }
    )
    return frame if split == "train" else frame.with_columns(user=pl.col("user") + 5)


FEATURES = [
    feature("word", min_categr_count=2),
    feature("user"),
    feature("code", dtype="int"),
    feature("seq", "sequence", share_embedding="word"),
    feature("twin", "sequence", preprocess="copy_from(seq)", max_len=2, padding="pre"),
    feature("day"),
    feature("num", "numeric", "float"),
    feature("scaled", "numeric", "float", normalizer="StandardScaler"),
    feature("large", "numeric", "float"),
    feature("group", "meta", preprocess="copy_from(user)"),
    feature("raw", "meta", "int", remap=False, preprocess="copy_from(code)"),
]


def written(folder, data_format, rows, parts=1, features=FEATURES):
    """A dataset whose train has several files, in folders that name the day."""
    frames = {s: rows_of(s, n) for s, n in zip(SPLITS, (rows, rows // 3 + 1, 4), strict=True)}
    if data_format == "csv":
        frames = {split: frame.drop("vec") for split, frame in frames.items()}
    dataset = write_dataset(folder, frames, features, LABELS, data_format, group_id="group")
    for place, part in enumerate(np.array_split(np.arange(rows), parts)):
        frame = frames["train"][part.tolist()].drop("day")
        (folder / f"train/day={place}").mkdir(parents=True)
        getattr(frame, f"write_{data_format}")(file_of(folder, place, data_format))
    return dataset | {"train_data": str(folder / "train")}


def file_of(folder, place, data_format="csv"):
    return folder / f"train/day={place}/part.{data_format}"


def content(cache):
    """All that a cache holds, by file; of h5 files all but the order of their blocks."""
    every = {path.name: path.read_bytes() for path in sorted(cache.folder.iterdir())}
    manifest = json.loads(every["manifest.json"])
    for split in cache.rows:
        with h5py.File(cache.path(split)) as file:
            columns = [
                (data.name, data.dtype, data.chunks, data[:].tobytes()) for data in file.values()
            ]
            every[f"{split}.h5"] = [dict(file.attrs), *columns]
        # The digest of those bytes.
        del manifest["files"][f"{split}.h5"]["sha256"]
    del manifest["digest"]
    return every | {"manifest.json": manifest}


def built(dataset, count):
    shutil.rmtree(dataset["data_root"], ignore_errors=True)
    caches = on_threads(count, lambda group: open_cache(dataset, group))
    assert all(cache == caches[0] for cache in caches)
    home = caches[0].folder.parent
    assert {path.suffix for path in home.iterdir()} == {"", ".lock"}, "nothing is left"
    return content(caches[0])


def watched(monkeypatch):
    """Count what each thread does: the rows that it encodes and the CSV files that it reads."""
    rows, files = Counter(), Counter()
    encoded, read = write_splits.encoded, csv_files.read_csv

    def watch_rows(*args):
        for block, frame in encoded(*args):
            rows[threading.get_ident()] += frame.height
            yield block, frame

    def watch_files(*args):
        files[threading.get_ident()] += 1
        return read(*args)

    monkeypatch.setattr(write_splits, "encoded", watch_rows)
    monkeypatch.setattr(csv_files, "read_csv", watch_files)
    return SimpleNamespace(rows=rows, files=files)


@pytest.mark.parametrize("data_format", ["csv", "parquet"])
def test_it_is_the_cache_of_one_process(tmp_path, monkeypatch, data_format):
    # Many blocks, none of which ends where a chunk of the file does.
    monkeypatch.setattr(store, "CHUNK_ROWS", 64)
    for module in (encode, write_splits):
        monkeypatch.setattr(module, "rows_of_block", lambda *args: 37)
    vectors = tmp_path / "vectors.npz"
    np.savez(vectors, key=np.array(["a", "b", "new"]), value=np.ones((3, 2)))
    known = feature(
        "known", preprocess="copy_from(word)", pretrained_emb=str(vectors), pretrain_dim=2
    )
    features = [*FEATURES, known]
    if data_format == "parquet":
        features.append(feature("vec", "embedding", "float", pretrain_dim=2))
    dataset = written(tmp_path, data_format, 400, 3, features)
    alone = built(dataset, 1)
    remarks = alone["manifest.json"]["remarks"]
    assert {remark[1] for remark in remarks} >= {"large", "num"}
    shares = watched(monkeypatch)
    for count in (2, 3):
        together = built(dataset, count)
        assert together.keys() == alone.keys()
        assert len(shares.rows) == count
        assert max(shares.rows.values()) - min(shares.rows.values()) <= len(SPLITS)
        assert sorted(shares.files.values()) == (
            [] if data_format == "parquet" else {2: [2, 3], 3: [1, 2, 2]}[count]
        )
        shares.rows.clear()
        shares.files.clear()
        for name, data in alone.items():
            assert together[name] == data, name


def test_there_may_be_more_processes_than_rows(tmp_path):
    features = [feature("word"), feature("scaled", "numeric", "float")]
    dataset = written(
        tmp_path,
        "parquet",
        2,
        features=[*features, feature("group", "meta", preprocess="copy_from(word)")],
    )
    alone = built(dataset, 1)
    assert built(dataset, 5) == alone


def test_a_function_that_looks_at_all_rows_sees_them(tmp_path, monkeypatch):
    made = SimpleNamespace(
        function=lambda name: pl.col(name).rank("dense").cast(pl.Int64), identity="rank"
    )
    monkeypatch.setattr(registry, "get_preprocess", lambda name: made)
    rank = feature("rank", "numeric", "float", preprocess="rank(scaled)")
    dataset = written(tmp_path, "parquet", 100, 2, [*FEATURES, rank])
    alone = built(dataset, 1)
    assert built(dataset, 2) == alone


def test_a_cache_that_is_there_is_opened(tmp_path, caplog):
    dataset = written(tmp_path, "parquet", 30)
    cache = open_cache(dataset)
    caplog.clear()
    caplog.set_level("INFO")
    assert on_threads(2, lambda group: open_cache(dataset, group)) == [cache, cache]
    assert "Building" not in caplog.text


def build_in_two(dataset):
    on_threads(2, lambda group: open_cache(dataset, group))


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_under_a_final_name(tmp_path):
    dataset = written(tmp_path, "parquet", 60)
    home = Path(dataset["data_root"]) / dataset["dataset_id"]
    killed_at("fuxictr_stem.data.cache.write_splits:SplitWriter._copy", build_in_two, dataset)
    (left,) = folders_in(home)
    assert ".tmp-" in left.name
    cache = open_cache(dataset)
    assert [path.name for path in folders_in(home)] == [cache.folder.name]
    assert content(cache) == built(dataset, 2)


def said(dataset, count):
    with pytest.raises(DataError) as caught:
        on_threads(count, lambda group: open_cache(dataset, group))
    home = Path(dataset["data_root"]) / dataset["dataset_id"]
    assert not folders_in(home), "nothing is left"
    return str(caught.value)


@pytest.mark.parametrize("fault", ["a value", "a label", "fields", "several", "scale"])
def test_faults_are_reported_as_by_one_process(tmp_path, fault):
    dataset = written(tmp_path, "csv", 90, 3)
    last, valid = file_of(tmp_path, 2), tmp_path / "valid.csv"
    lines = last.read_text().splitlines()
    if fault in ("a value", "several"):
        lines[5] = lines[5].replace(lines[5].split(",")[5], "x17")
    if fault == "a label":
        lines[9] = lines[9].rpartition(",")[0] + ","
    if fault in ("fields", "several"):
        lines[7] += ",1"
    last.write_text("\n".join(lines) + "\n")
    if fault == "several":
        text = valid.read_text().splitlines()
        text[2] += ",2,3"
        valid.write_text("\n".join(text) + "\n")
    if fault == "scale":
        dataset["feature_cols"] = [
            *FEATURES[:6],
            feature("num", "numeric", "float", fill_na=1e300),
            *FEATURES[7:],
        ]
    alone = said(dataset, 1)
    assert str(last) in alone or fault == "scale"
    for count in (2, 3):
        assert said(dataset, count) == alone


def test_who_has_other_files_says_so(tmp_path):
    dataset = written(tmp_path, "parquet", 30)
    other = dataset | {"valid_data": dataset["test_data"]}
    with pytest.raises(
        DataError, match="build_together: the source files, .* of process 1 of 2 differ"
    ):
        on_threads(2, lambda group: open_cache(other if group.number else dataset, group))


def test_who_does_not_see_the_folder_says_so(tmp_path, monkeypatch):
    dataset = written(tmp_path, "parquet", 30)
    seen = Path.is_dir
    helpers = threading.local()

    def is_dir(path):
        return seen(path) and not getattr(helpers, "elsewhere", False)

    monkeypatch.setattr(Path, "is_dir", is_dir)

    def opened(group):
        helpers.elsewhere = group.number == 1
        return open_cache(dataset, group)

    with pytest.raises(
        DataError, match="build_together: process 1 of 2 does not see .* Put data_root"
    ):
        on_threads(2, opened)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, DataError])
def test_a_build_that_stops_leaves_nothing(dataset, monkeypatch, error):
    def stop(*args):
        raise error("stopped")

    monkeypatch.setattr("fuxictr_stem.data.cache.build.write_account", stop)
    with pytest.raises(error):
        open_cache(dataset)
    assert [path.suffix for path in home(dataset).iterdir()] == [".lock"]
    monkeypatch.undo()
    assert open_cache(dataset).rows["train"] == 4


def test_a_failed_rebuild_leaves_the_old_folder(dataset, monkeypatch):
    cache = open_cache(dataset)
    path = cache.folder / "valid.h5"
    path.write_bytes(path.read_bytes()[:-100])
    monkeypatch.setattr("fuxictr_stem.data.cache.build.write_account", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_cache(dataset)
    assert path.exists()


def test_a_full_disk_is_seen_before(dataset, monkeypatch):
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="are free. Make room"):
        open_cache(dataset)


def test_labels_keep_their_values(tmp_path):
    written = {
        split: pl.DataFrame(
            {"cat": ["a", "b", "a"], "y": [0.0, 1.0, one], "watch": [0.5, 3.25, -1e3]}
        )
        for split, one in zip(SPLITS, (1.0, 0.0, 1.0), strict=True)
    }
    labels = [label(), label("watch"), label("again", preprocess="copy_from(y)")]
    dataset = write_dataset(tmp_path, written, [feature("cat")], labels)
    cache = open_cache(dataset)
    for split, columns in cached(cache).items():
        assert columns["y"].dtype == np.uint8
        assert columns["watch"].dtype == np.float32
        assert columns["y"].tolist() == columns["again"].tolist() == written[split]["y"].to_list()
        assert columns["watch"].tolist() == written[split]["watch"].to_list()
    stats = cache.labels["train"]
    assert stats["y"] == {
        **{"rows": 3, "nulls": 0, "nonfinite": 0, "min": 0.0, "max": 1.0, "sum": 2.0},
        **{"positives": 2, "other": 0, "example": None},
    }
    assert (stats["watch"]["other"], stats["watch"]["example"]) == (3, 0.5)
    assert (stats["watch"]["min"], stats["watch"]["max"]) == (-1000.0, 3.25)


def test_labels_of_all_splits_decide_their_type(tmp_path):
    rows = {"cat": ["a", "b", "a", "c"]}
    split = {name: with_labels(rows) for name in SPLITS}
    split["test"] = split["test"].with_columns(y=pl.Series([0.0, 0.5, 1.0, 1.0]))
    found = cached(open_cache(write_dataset(tmp_path, split, [feature("cat")])))
    assert {name: found[name]["y"].dtype for name in SPLITS} == dict.fromkeys(SPLITS, np.float32)


def test_a_fuxictr_that_is_not_the_release_is_named(tmp_path, monkeypatch):
    """A source checkout of the same number lacks what a cache is built with."""
    frames = dict.fromkeys(("train", "valid", "test"), with_labels({"c": ["a", "b"]}))
    dataset = write_dataset(tmp_path, frames, [feature("c")])
    monkeypatch.setitem(sys.modules, "fuxictr_stem.data.encoding.fit", None)
    with pytest.raises(ConfigError, match=r"The FuxiCTR in .*fuxictr cannot prepare .*PYTHONPATH"):
        datasets.built(dataset, tmp_path / "built", 8)
