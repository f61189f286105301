"""Files of pretrained vectors are read as FuxiCTR reads them."""

import h5py
import numpy as np
import polars as pl
import pytest
from fuxictr.preprocess.tokenizer import load_pretrain_emb

from fuxictr_stem.models.pretrained_vectors import read_pretrained

VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)


def write(path, keys, vectors):
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["key"], file["value"] = keys, vectors
    elif path.suffix == ".npz":
        np.savez(path, key=keys, value=vectors)
    else:
        pl.DataFrame({"key": keys, "value": vectors.tolist()}).write_parquet(path)


@pytest.mark.parametrize("keys", [["a", "b", "c"], [7, 8, 2**40], [0.5, 1.0, np.nan]], ids=str)
@pytest.mark.parametrize("suffix", [".h5", ".npz", ".parquet"])
def test_as_fuxictr_reads_them(tmp_path, suffix, keys):
    path = tmp_path / f"vectors{suffix}"
    write(path, keys, VECTORS)
    ours, theirs = read_pretrained(path), load_pretrain_emb(str(path))
    for our_array, their_array in zip(ours, theirs, strict=True):
        assert our_array.dtype == their_array.dtype
        np.testing.assert_array_equal(np.stack(list(our_array)), np.stack(list(their_array)))
