"""The rows of splits encoded and written into h5 files, by one process or by several."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.encoding.column_encoders import Encoder
from fuxictr_stem.data.encoding.encode import Tally, encoded, rows_of_block
from fuxictr_stem.data.encoding.fill_values import Fill, filled_frame
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.group import Group
from fuxictr_stem.runtime.progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitWriter:
    """Encodes the splits of a checked dataset; of several processes, each its share of the rows.

    The first process calls `write` for each split, the others `write_share`.
    """

    source: Source
    rows: Mapping[str, int]  # of each split
    columns: Sequence[Encoder]
    fills: Sequence[Fill]
    scratch: Path  # for files from one process to another
    block_rows: int  # the most that are encoded at a time
    group: Group

    def write(self, split: str, path: Path, owner: str) -> dict[str, Tally]:
        """Write a whole split into an h5 file of some owner, and return what was counted on the way.

        Raises:
            DataError: A file cannot be read, or does not have the rows that it had.
            OSError: The h5 file cannot be written.
        """
        with store.create(path, self.rows[split], self._layout, owner) as write:
            tallies = self._encode(split, write)
            of_all = self.group.exchange(_as_json(tallies))
            first = self._rows_here(split)
            for number, others in enumerate(of_all[1:], 1):
                first += self._copy(self._file(split, number), first, write)
                for name, tally in others.items():
                    tallies[name].add(Tally(**tally))
        return tallies

    def write_share(self, split: str) -> None:
        """Write this process' share of a split for the first one; raises what `write` does."""
        path, rows = self._file(split, self.group.number), self._rows_here(split)
        tallies: dict[str, Tally] = {}
        if rows:
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.create(path, rows, self._layout) as write:
                tallies = self._encode(split, write)
        self.group.exchange(_as_json(tallies))

    @property
    def _layout(self) -> dict[str, tuple[np.dtype[Any], int]]:
        return {column.name: (column.dtype, column.width) for column in self.columns}

    def _rows_here(self, split: str) -> int:
        first, last = self.source.share_of(self.rows[split], self.group)
        return last - first

    def _encode(self, split: str, write: store.Write) -> dict[str, Tally]:
        tallies = {column.name: Tally() for column in self.columns}
        rows, done, start = self._rows_here(split), 0, time.monotonic()
        frame = filled_frame(self.source.plan, self.source.share(self.group).frame(split))
        blocks = encoded(self.source, frame, self.columns, self.block_rows, self.fills, tallies)
        with Progress(f"Encoding {split}", rows, unit="rows") as progress:
            for block, _ in blocks:
                count = len(next(iter(block.values())))
                if done + count <= rows:
                    write(done, block)
                done += count
                progress.update(count)
        if done != rows:
            raise DataError(
                f"dataset {self.source.plan.dataset_id!r}: {split} had {rows:,} rows and then "
                f"{done:,}: its files changed while they were read. Start again when they are complete."
            )
        logger.debug("Encoded %s: %s rows in %.1f s", split, f"{rows:,}", time.monotonic() - start)
        return tallies

    def _copy(self, path: Path, first: int, write: store.Write) -> int:
        """Write the share of another process from a row on; return how many rows it has."""
        if not path.exists():
            return 0
        with store.open_file(path) as file:
            columns = {name: store.column(file, name) for name in self._layout}
            rows = len(next(iter(columns.values())))
            step = rows_of_block(self.columns, self.block_rows)
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                block = {name: store.read(data, start, stop) for name, data in columns.items()}
                write(first + start, block)
        path.unlink()
        return rows

    def _file(self, split: str, number: int) -> Path:
        return self.scratch / f"{split}-{number}.h5"


def _as_json(tallies: dict[str, Tally]) -> dict[str, dict[str, object]]:
    return {name: asdict(tally) for name, tally in tallies.items()}
