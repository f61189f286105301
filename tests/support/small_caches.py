"""A small dataset with its cache."""

from pathlib import Path

from tests.support.datasets import feature

FEATURES = [
    feature("cat"),
    feature("seq", "sequence", share_embedding="cat", max_len=3),
    feature("num", "numeric", "float"),
    feature("group", "meta", preprocess="copy_from(cat)"),
]
ROWS = {"cat": ["a", "b", "a", "c"], "seq": ["a^b", "", "c^d", "a"], "num": [1.0, 2.5, None, 4.0]}


def builds(caplog):
    """Return how often a cache was built."""
    return sum(record.message.startswith("Built the cache") for record in caplog.records)


def home(dataset):
    """Return the folder of a dataset's caches."""
    return Path(dataset["data_root"]) / dataset["dataset_id"]
