"""A package of preprocess functions, installed into a folder, and a small dataset for them."""

import importlib
from itertools import count

from tests.support.datasets import SPLITS, with_labels, write_dataset

MODULE = """
from functools import partial

import polars as pl

def hour(name):
    return pl.col("time").str.slice(11, 2)

def bucket(name):
    return pl.when(pl.col(name) > 2).then(pl.col(name).log().pow(2).floor()).otherwise(
        pl.col(name)).cast(pl.Int64)

def log(name):
    return pl.col(name).log1p()

def answer(name):
    return pl.col("y") + 1

def fails(name):
    raise KeyError(name)

def whole(name):
    return pl.col(name).cast(pl.Int64)

def reserved(name):
    return pl.when(pl.col(name) > 0).then(pl.lit("__PAD__"))

def days(name):
    return pl.col(name).str.slice(0, 10).str.replace_all("-", "^")

def nothing(name):
    return name

part = partial(hour)
"""
NAMES = ("days", "hour", "bucket", "log", "answer", "fails", "nothing", "part", "reserved", "whole")
_number = count()


class Package:
    """A package with entry points, installed into a folder of its own."""

    def __init__(self, folder):
        self.module = f"fuxictr_stem_test_functions_{next(_number)}"
        self.path = folder / f"{self.module}.py"
        self.info = folder / f"{self.module}-1.0.dist-info"
        self.info.mkdir()
        self.path.write_text(MODULE)
        self.release("1.0")
        lines = [f"{name} = {self.module}:{name}" for name in NAMES]
        text = "\n".join(["[fuxictr_stem.preprocess]", *lines])
        (self.info / "entry_points.txt").write_text(text)

    def release(self, version):
        text = f"Metadata-Version: 2.1\nName: {self.module}\nVersion: {version}\n"
        (self.info / "METADATA").write_text(text)
        importlib.invalidate_caches()


TIMES = [["2026-01-02 03:04:05", None, "2026-01-02 23:00:00"], ["2026-05-01 03:59:59"] * 3]
PRICES = [[1.5, 100.0, None], [100.0, 7.0, 0.5]]


def small(folder, features, data_format="csv", **more):
    frames = {
        split: with_labels({"time": TIMES[i], "price": PRICES[i], "kept": [1.0, 2.0, 3.0]})
        for split, i in zip(SPLITS, (0, 1, 1), strict=True)
    }
    return write_dataset(folder, frames, features, data_format=data_format, **more)
