"""From CSV files to encoded splits: our cache against FuxiCTR's ``build_dataset``, and its peak memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from fuxictr.preprocess import FeatureProcessor, build_dataset

from fuxictr_stem.data.cache.open_cache import open_cache

# Imported when a cache is built; here, so that both sides' imports are done before the clock starts.
from fuxictr_stem.data.encoding import fit as _fit  # noqa: F401
from fuxictr_stem.data.source import csv_files as _csv_files  # noqa: F401
from perf.common import Side, peak_memory, ratio, timed
from perf.data import dataset_config, write_csv
from perf.records import Record
from perf.sizes import Sizes

_GIB = 2**30


class Encoding:
    """One build from CSV files, into a fresh folder; a process builds once, since Ray starts once."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.dataset = dataset

    def ours(self) -> float:
        """Build our cache; return the seconds."""
        return timed(lambda: open_cache(self.dataset))[0]

    def fuxictrs(self) -> float:
        """Run FuxiCTR's ``build_dataset``, Ray's start included; return the seconds."""

        def build() -> None:
            build_dataset(FeatureProcessor(**self.dataset), **self.dataset)

        return timed(build)[0]

    def peak(self) -> tuple[float, float]:
        """Build our cache; return the seconds and the peak memory of the process, in GiB."""
        seconds = self.ours()
        return seconds, peak_memory() / _GIB


def _write(folder: Path, rows: int, ids: int) -> tuple[Path, Path]:
    train, valid = folder / f"train_{rows}.csv", folder / f"valid_{rows}.csv"
    write_csv(train, rows, ids)
    write_csv(valid, max(rows // 100, 10), ids, seed=1)
    return train, valid


def compare(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure both sides on the same files, with one process per build."""
    files = _write(folder, *sizes.csv_rows)
    seconds: dict[str, list[float]] = {"fuxictrs": [], "ours": []}
    for repetition in range(sizes.repetitions):
        for name, times in seconds.items():
            place = folder / f"{name}_{repetition}"
            with Side(Encoding, dataset_config(place, *files)) as side:
                times.append(side.call(name))
            shutil.rmtree(place)
    at = "CSV of {:,} rows, {:,} ids".format(*sizes.csv_rows)
    value = ratio(seconds["fuxictrs"], seconds["ours"])
    yield Record(f"CSV to cache over FuxiCTR's build_dataset, {at}", value, "x", ">= 10")
    yield Record(f"FuxiCTR's build_dataset, {at}", median(seconds["fuxictrs"]), "s")
    yield Record(f"cache, {at}", median(seconds["ours"]), "s")


def memory(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the peak memory of building a cache from a large file."""
    train, valid = _write(folder, *sizes.large_csv_rows)
    at = "CSV of {:,} rows, {:,} ids".format(*sizes.large_csv_rows)
    place = folder / "large"
    with Side(Encoding, dataset_config(place, train, valid)) as side:
        seconds, peak = side.call("peak")
    for path in (train, valid):
        path.unlink()
    shutil.rmtree(place)
    yield Record(f"peak memory of building a cache, {at}", peak, "GiB", "<= 4")
    yield Record(f"building a cache, {at}", seconds, "s")
