"""QK-Video: ``ctr_data_1M.csv`` of Tenrec (Yuan et al., NeurIPS 2022).

Each user's rows, in the order of the file, are cut at 8n//10 and 9n//10 of the user's n rows. The
file is read twice in blocks, first to count each user's rows, then to place them; memory grows with
the number of users only, and a user's rows need not stand together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fuxictr_stem.data.preparers.preparer import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import read_blocks
from fuxictr_stem.data.preparers.splits import SplitWriter
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.progress import track

FILE = "ctr_data_1M.csv"
LABELS = ("click", "follow", "like", "share")
COLUMNS = (
    "user_id",
    "item_id",
    *LABELS,
    "video_category",
    "watching_times",
    "gender",
    "age",
    *(f"hist_{i}" for i in range(1, 11)),
)
_INTEGERS = ("user_id", *LABELS)
# Counts of single blocks are merged when there are this many.
_PENDING = 4_000_000


@dataclass(frozen=True)
class QKVideoOptions:
    """QK-Video has no options: its split reproduces the published counts."""


def find_raw(raw_dir: Path, options: QKVideoOptions) -> list[Path]:
    """Return the one raw file.

    Raises:
        RawFilesMissing: It is not there.
    """
    path = raw_dir / FILE
    if not path.exists():
        raise RawFilesMissing(
            f"QK-Video's raw file is not there: looked for {FILE} in {raw_dir}. It is part of "
            "Tenrec; its authors (github.com/yuangh-x/2022-NIPS-Tenrec) give it out after an "
            "application: https://static.qblv.qq.com/qblv/h5/algo-frontend/tenrec_dataset.html. "
            "Unpack it and put the file into that folder."
        )
    return [path]


class _Cuts:
    """Places each row by its user's number of rows and how many of them came before."""

    def __init__(self, counts: pl.DataFrame) -> None:
        counts = counts.sort("user_id")
        self._users = counts["user_id"].to_numpy()
        rows = counts["rows"].to_numpy().astype(np.int64)
        self.rows = int(rows.sum())
        self._valid_from = 8 * rows // 10
        self._test_from = 9 * rows // 10
        self._seen = np.zeros(len(rows), dtype=np.int64)

    def place(self, users: np.ndarray) -> np.ndarray:
        """Return the split of each row of the next block, (rows,) uint8."""
        index = np.searchsorted(self._users, users)
        known = index < len(self._users)
        if not known.all() or (self._users[index] != users).any():
            raise DataError(f"{FILE}: the file changed while it was read. Start again.")
        # Equal users stand together in `order`, in file order, so that the distance to the
        # first of them is the number of the user's rows before this one in the block.
        order = np.argsort(index, kind="stable")
        present, first, counts = np.unique(index[order], return_index=True, return_counts=True)
        position = np.empty(len(users), dtype=np.int64)
        position[order] = np.arange(len(users)) - np.repeat(first, counts)
        position += self._seen[index]
        self._seen[present] += counts
        later = position >= self._valid_from[index]
        last = position >= self._test_from[index]
        return later.astype(np.uint8) + last.astype(np.uint8)


def count_user_rows(path: Path) -> pl.DataFrame:
    """Return each user's number of rows, columns user_id and rows."""
    parts: list[pl.DataFrame] = []
    pending = 0
    blocks = read_blocks(path, _INTEGERS, columns=["user_id"])
    for frame in track(blocks, f"Counting users of {path.name}"):
        parts.append(frame.group_by("user_id").agg(pl.len().cast(pl.Int64).alias("rows")))
        pending += parts[-1].height
        if pending > _PENDING:
            parts, pending = [_merge(parts)], 0
    return _merge(parts)


def _merge(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("user_id").agg(pl.col("rows").sum())


def write_splits(
    files: list[Path], raw_dir: Path, options: QKVideoOptions, writer: SplitWriter
) -> None:
    """Write each row of the raw file into its split, all columns.

    Raises:
        DataError: The raw file is damaged.
    """
    path = files[0]
    cuts = _Cuts(count_user_rows(path))
    blocks = read_blocks(path, _INTEGERS, columns=COLUMNS)
    for frame in track(blocks, f"Splitting {path.name}", cuts.rows):
        writer.write(frame, cuts.place(frame["user_id"].to_numpy()))


PREPARER = Preparer(
    name="qkvideo",
    version=1,
    options=QKVideoOptions,
    find_raw=find_raw,
    write_splits=write_splits,
)
