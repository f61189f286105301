"""Datasets of one CSV text, and the rows that are read from it."""

import gzip
from pathlib import Path

from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.validate import check_source
from tests.support.datasets import SPLITS, feature, label, write_dataset

FEATURES = [feature("a"), feature("c")]
TITLES, CLICK = [feature("user"), feature("title")], [label("click")]
SPARK = 'user,title,click\nu1,"5\\" pad",1\nu2,b,0\nu3,"7\\" tv",1\nu4,d,0\n'


def dataset_of(folder, text, features=None, labels=None, name="train.csv", **more):
    """Write one file that is all three splits."""
    path = Path(folder) / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    dataset = write_dataset(folder, {}, features or FEATURES, labels, **more)
    return dataset | {f"{split}_data": str(path) for split in SPLITS}


def read(dataset, scratch):
    """Return the rows of train as they are encoded: text and numbers by column."""
    path = Path(dataset["train_data"])
    source = open_source(plan_columns(dataset), {"train": [path]})
    source, stats = check_source(source, Path(scratch) / "text")
    frame = source.frame("train").collect()
    assert frame.height == stats["train"].rows
    return frame
