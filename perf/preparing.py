"""From TikTok's raw file to an encoded cache: seconds and peak memory, on rows that are made up.

The shipped dataset config decides the format of the splits, so that this also times trees that wrote CSV.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.data.cache.open_cache import open_cache

# Imported when a cache is built; here, so that imports are done before the clock starts.
from fuxictr_stem.data.encoding import fit as _fit  # noqa: F401
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.preparers.tiktok import COLUMNS, FILE
from perf.common import ROOT, Side, peak_memory, timed
from perf.data import draw, label_names, vocabulary_sizes
from perf.records import Record
from perf.sizes import Sizes

_GIB = 2**30
_BLOCK = 1_000_000


def write_raw(folder: Path, rows: int, ids: int) -> None:
    """Write a raw file of TikTok's form: twelve tab-separated columns, no header.

    Args:
        folder: Where it goes.
        rows: Its rows.
        ids: Distinct ids of the features together.
    """
    folder.mkdir(parents=True)
    with (folder / FILE).open("wb") as file:
        for start in range(0, rows, _BLOCK):
            count, rng = min(_BLOCK, rows - start), np.random.default_rng(start)
            columns = {
                **draw(vocabulary_sizes(ids), label_names(2), count, start),
                "user_city": rng.integers(-1, 400, count),
                "create_time": 53_080_000_000 + rng.integers(0, 6_000_000, count),
            }
            frame = pl.DataFrame({name: columns[name].astype(np.int64) for name in COLUMNS})
            frame.write_csv(file, include_header=False, separator="\t")


class Preparing:
    """The shipped TikTok config on a raw file of ours, everything else in a folder."""

    def __init__(self, raw: Path, folder: Path) -> None:
        self.dataset = load_dataset(ROOT / "config", "tiktok")
        ending = Path(self.dataset["train_data"]).suffix
        for split in ("train", "valid", "test"):
            self.dataset[f"{split}_data"] = str(folder / "splits" / f"{split}{ending}")
        self.dataset["data_root"] = str(folder)
        self.dataset["prepare"]["raw_dir"] = str(raw)

    def run(self) -> tuple[float, float, float]:
        """Prepare and build the cache; return the seconds of each, and the peak memory in GiB."""
        prepared = timed(lambda: prepare(self.dataset))[0]
        cached = timed(lambda: open_cache(self.dataset))[0]
        return prepared, cached, peak_memory() / _GIB


def measure(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the way from a large raw file to a cache, in a process of its own."""
    raw, work = folder / "raw", folder / "prepared"
    write_raw(raw, *sizes.raw_rows)
    with Side(Preparing, raw, work) as side:
        prepared, cached, peak = side.call("run")
    for path in (raw, work):
        shutil.rmtree(path)
    at = "TikTok's raw file of {:,} rows, {:,} ids".format(*sizes.raw_rows)
    yield Record(f"raw file to cache, {at}", prepared + cached, "s")
    yield Record(f"of that, raw file to splits, {at}", prepared, "s")
    yield Record(f"peak memory from raw file to cache, {at}", peak, "GiB", "<= 4")
