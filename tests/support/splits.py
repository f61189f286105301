"""A split of a cache with a column of each kind, and loaders that read it in small windows."""

from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import strategies as st

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.loading.loader import H5Loader

COLUMNS = {
    "id": (np.dtype(np.uint8), 0),
    "row": (np.dtype(np.int32), 0),
    "seq": (np.dtype(np.uint16), 3),
    "big": (np.dtype(np.int64), 0),
    "num": (np.dtype(np.float32), 0),
    "vec": (np.dtype(np.float32), 2),
    "y": (np.dtype(np.uint8), 0),
    "watch": (np.dtype(np.float32), 0),
}
LABELS = ["y", "watch"]


def write(path, rows, names=tuple(COLUMNS)):
    """Write a split whose column ``row`` numbers the rows and whose others follow from it."""
    rng = np.random.default_rng(rows)
    values = {}
    for name in names:
        dtype, width = COLUMNS[name]
        shape = (rows, width) if width else (rows,)
        drawn = rng.integers(0, 200, shape) if dtype.kind in "iu" else rng.normal(size=shape)
        values[name] = drawn.astype(dtype)
    values["row"] = np.arange(rows, dtype=np.int32)
    if "big" in values:
        values["big"] += 2**40
    with store.create(path, rows, {name: COLUMNS[name] for name in values}) as put:
        put(0, values)
    return values


def feature_map(names=tuple(COLUMNS), labels=LABELS):
    return SimpleNamespace(
        features={n: {} for n in names if n not in LABELS},
        labels=[n for n in labels if n in names],
    )


def loader(path, chunk=4, window=3, names=tuple(COLUMNS), **more):
    kind = type("Small", (H5Loader,), {"chunk_rows": chunk, "window_chunks": window})
    return kind(feature_map(names), path, **more)


def same(one, other):
    assert list(one) == list(other)
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert torch.equal(one[name], other[name]), name


def same_all(ones, others):
    ones, others = list(ones), list(others)
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        same(one, other)


def rows_of(batches):
    return [row for batch in batches for row in batch["row"].tolist()]


# Any loader of up to 60 rows.
ANY = {
    "rows": st.integers(1, 60),
    "batch_size": st.integers(1, 70),
    "chunk": st.integers(1, 20),
    "window": st.integers(1, 5),
    "shuffle": st.booleans(),
    "drop_last": st.booleans(),
    "seed": st.integers(0, 2**33),
}
