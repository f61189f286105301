"""Loaders: rows a second over an epoch, ours from memory and from disk against FuxiCTR's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from fuxictr.pytorch.dataloaders import RankDataLoader

from fuxictr_stem.data.loading.loader import H5Loader
from perf.common import BenchmarkError, Side, alternate, forget_file, ratio, timed
from perf.data import draw, feature_map, label_names, vocabulary_sizes, write_h5
from perf.records import Record
from perf.sizes import Sizes

_TABLE_ROWS = 1_000_000


class _Epochs:
    """Passes over a split, its file read again from the disk where it is read at all."""

    loader: Iterable[dict[str, Any]]

    def __init__(self, path: Path, rows: int) -> None:
        self.path, self.rows = path, rows
        self.feature_map = feature_map(
            vocabulary_sizes(_TABLE_ROWS), label_names(2), folder=path.parent
        )

    def epoch(self) -> float:
        """Read an epoch; return its seconds."""
        forget_file(self.path)

        def read() -> int:
            return sum(len(batch["uid"]) for batch in self.loader)

        seconds, rows = timed(read)
        if rows != self.rows:
            raise BenchmarkError(f"{type(self).__name__} gave {rows} of {self.rows} rows")
        return seconds


class Ours(_Epochs):
    """Our loader on an h5 file."""

    def __init__(self, path: Path, rows: int, batch_size: int, memory_budget: int | None) -> None:
        super().__init__(path, rows)
        self.loader = H5Loader(
            self.feature_map,
            path,
            batch_size=batch_size,
            shuffle=True,
            memory_budget=memory_budget,
        )


class FuxiCTRs(_Epochs):
    """FuxiCTR's loader on the parquet file that its ``build_dataset`` would write; Ray has started."""

    def __init__(self, path: Path, rows: int, batch_size: int) -> None:
        super().__init__(path, rows)
        self.loader, _ = RankDataLoader(
            self.feature_map,
            stage="train",
            train_data=str(path),
            batch_size=batch_size,
            shuffle=True,
            data_format="parquet",
            num_workers=3,
        )


def compare(sizes: Sizes, folder: Path) -> Iterator[Record]:
    """Measure the loaders on the same rows."""
    rows, h5, parquet = sizes.loader_rows, folder / "loader.h5", folder / "loader.parquet"
    columns = draw(vocabulary_sizes(_TABLE_ROWS), label_names(2), rows, seed=0)
    write_h5(h5, columns)
    pl.DataFrame(columns).write_parquet(parquet)
    with ExitStack() as stack:
        sides = {
            "plain": stack.enter_context(Side(FuxiCTRs, parquet, rows, sizes.batch_size)),
            "memory": stack.enter_context(Side(Ours, h5, rows, sizes.batch_size, None)),
            "disk": stack.enter_context(Side(Ours, h5, rows, sizes.batch_size, 0)),
        }
        # The first epoch of each warms up.
        seconds = {
            name: times[1:]
            for name, times in alternate(sides, sizes.repetitions + 1, "epoch").items()
        }
    at = f"{rows:,} rows of {len(columns)} columns, shuffled"
    for name, text, target in (("memory", "in memory", 30), ("disk", "from disk", 10)):
        value = ratio(seconds["plain"], seconds[name])
        yield Record(f"loader rows/s over FuxiCTR's, {text}, {at}", value, "x", f">= {target}")
    texts = {"plain": "FuxiCTR's loader", "memory": "loader in memory", "disk": "loader from disk"}
    for name, text in texts.items():
        yield Record(f"{text}, {at}", rows / median(seconds[name]), "rows/s")
