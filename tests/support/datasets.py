"""Small datasets on disk, and FuxiCTR's own processor as the oracle for their ids."""

from pathlib import Path

import h5py
import numpy as np
import polars as pl

from fuxictr_stem.data.cache.build import build
from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files

SPLITS = ("train", "valid", "test")


def feature(name, kind="categorical", dtype="str", **more):
    return {"name": name, "active": True, "dtype": dtype, "type": kind, **more}


def label(name="y", **more):
    return {"name": name, "dtype": "float", **more}


def write_dataset(folder, frames, features, labels=None, data_format="csv", **more):
    """Write a frame per split and return the dataset config that reads them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dataset = {
        "dataset_id": "small",
        "data_root": str(folder / "caches"),
        "data_format": data_format,
        "min_categr_count": 1,
        "feature_cols": features,
        "label_col": labels or [label()],
        "group_id": None,
        "test_data": None,
        **more,
    }
    for split, frame in frames.items():
        path = folder / f"{split}.{data_format}"
        if data_format == "csv":
            frame.write_csv(path, separator=dataset.get("sep", ","))
        else:
            frame.write_parquet(path)
        dataset[f"{split}_data"] = str(path)
    return dataset


def with_labels(columns, labels=("y",)):
    """Return a frame of the columns and 0/1 labels that have both values."""
    frame = pl.DataFrame(columns)
    values = np.arange(frame.height) % 2
    return frame.with_columns(pl.Series(name, values.astype(float)) for name in labels)


def fuxictr_says(dataset, folder):
    """Return every split as FuxiCTR's own reading, fitting and transform encode it."""
    from fuxictr.preprocess import FeatureProcessor
    from fuxictr.preprocess.build_dataset import merge_meta_ddf

    processor = FeatureProcessor(**{**dataset, "data_root": str(folder)})
    frames = {}
    for split in SPLITS:
        path = dataset[f"{split}_data"]
        if path:
            frame = processor.read_data(path, dataset["data_format"], dataset.get("sep", ","))
            frames[split] = processor.preprocess(frame)
    meta = merge_meta_ddf(processor, *frames.values())
    processor.fit(frames["train"], meta_ddf=meta, min_categr_count=dataset["min_categr_count"])
    encoded = {}
    for split, frame in frames.items():
        columns = frame.collect()
        batch = {name: columns[name].to_numpy() for name in columns.columns}
        encoded[split] = {k: np.asarray(v) for k, v in processor.transform(batch).items()}
    return encoded, processor


def cached(cache):
    """Return every split of a cache, read with h5py alone."""
    found = {}
    for split in cache.rows:
        with h5py.File(cache.path(split), "r") as file:
            found[split] = {name: file[name][:] for name in file}
    return found


def assert_same(found, said):
    """Compare a cache's arrays with the oracle's, value by value."""
    assert set(found) == set(said)
    for split, columns in said.items():
        assert set(found[split]) == set(columns)
        for name, values in columns.items():
            ours = found[split][name]
            assert ours.shape == values.shape, (split, name)
            if ours.dtype.kind == "f":
                values = values.astype(np.float32)
            np.testing.assert_array_equal(ours, values, err_msg=f"{split} {name}")


# None is a missing value; the later splits have values that train has not.
COLUMNS = {
    "cat": [["b", "a", None, "a", "c", "b"], ["a", None, "zz", "", "c", "B"], ["new", "a"]],
    "num_id": [[7, -3, None, 7, 900, 7], [7, 8, None, -3, 900, 1], [2**40, 7]],
    "seq": [
        ["a^b", "", None, "b^^c^d", "a", "d^b"],
        ["zz^a^b^c^d^e", "^", "a", None, "b^zz", ""],
        ["a^b^c^d^e^f^g", "c"],
    ],
    "num": [[1.5, None, -2.0, 3.0, 0.25, 9.0], [1e6, None, 0.0, 3.5, -0.5, 2.0], [None, 4.0]],
    "group": [["u", "v", "u", None, "w", "u"], ["v", "q", None, "r", "u", "u"], ["only", "w"]],
}


def frames(*names, labels=("y",)):
    return {
        split: with_labels({name: COLUMNS[name][i] for name in names}, labels)
        for i, split in enumerate(SPLITS)
    }


def built(dataset, folder, block_rows):
    """Build with a small block size; return the arrays of all splits."""
    folder = Path(folder)
    folder.mkdir()
    build(plan_columns(dataset), find_files(dataset), "x", folder, block_rows)
    rows = {split: 0 for split in SPLITS if dataset[f"{split}_data"]}
    return cached(Cache.model_construct(folder=folder, rows=rows))


def folders_in(path):
    """Return the folders in a folder; before Python 3.11, ``glob("*/")`` gives its files, too."""
    return [entry for entry in path.iterdir() if entry.is_dir()]
