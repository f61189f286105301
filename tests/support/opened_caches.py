"""Caches of splits that are given by their columns, and the remarks on them."""

import polars as pl

from fuxictr_stem.data.cache.open_cache import open_cache
from tests.support.datasets import SPLITS, with_labels, write_dataset


def opened(folder, columns, features, data_format="csv", labels=None, **more):
    """Open the cache of splits given by their columns; those not given are train's."""
    frames = {
        split: with_labels(columns.get(split, columns["train"]))
        if labels is None
        else pl.DataFrame(columns.get(split, columns["train"]))
        for split in SPLITS
    }
    return open_cache(write_dataset(folder, frames, features, labels, data_format, **more))


def remarks(cache, column=None):
    """Return the remarks on all columns, or on one."""
    return [r.text for r in cache.remarks if column in (None, r.column)]
