"""A small dataset whose source files can be spoiled, and what is said of them."""

from pathlib import Path

import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.errors import DataError
from tests.support.datasets import SPLITS, feature, with_labels, write_dataset

ROWS = {"cat": ["a", "b", "a", "b"], "num": [1.0, 2.5, -3.0, 4.0], "n": [1, 2, 3, 4]}
FEATURES = [feature("cat"), feature("num", "numeric", "float"), feature("n", dtype="int")]


def small(folder, data_format="csv", features=None, change=None, **more):
    """Write three alike splits; ``change`` replaces the frame of some of them."""
    frames = {split: with_labels(ROWS) for split in SPLITS}
    frames |= change or {}
    return write_dataset(folder, frames, features or FEATURES, data_format=data_format, **more)


def message(dataset, error=DataError):
    """Return what is said when the cache is opened, and check that none was built."""
    with pytest.raises(error) as caught:
        open_cache(dataset)
    root = Path(dataset["data_root"])
    left = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, "a rejected source leaves no cache"
    return str(caught.value)


def rewrite(path, old, new):
    """Replace the first of some bytes of a file."""
    text = Path(path).read_bytes()
    assert old in text
    Path(path).write_bytes(text.replace(old, new, 1))
