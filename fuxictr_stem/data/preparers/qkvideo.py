"""QK-Video: ``ctr_data_1M.csv`` of Tenrec (Yuan et al., NeurIPS 2022).

Each user's rows, in the order of the file, are cut at 8n//10 and 9n//10 of the user's n rows. The
file is read twice in blocks, first to count each user's rows, then to place them; memory grows with
the number of users only, and a user's rows need not follow each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.count_tokens import TokenCounts
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.preparers.job import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import RawFile
from fuxictr_stem.data.preparers.splits import Blocks
from fuxictr_stem.errors import DataError

FILE = "ctr_data_1M.csv"
LABELS = ("click", "follow", "like", "share")
COLUMNS = (
    *("user_id", "item_id", *LABELS, "video_category", "watching_times", "gender", "age"),
    *(f"hist_{i}" for i in range(1, 11)),
)


def find_raw(raw_dir: Path, options: Mapping[str, Any]) -> list[Path]:
    """Return the one raw file."""
    path = raw_dir / FILE
    if not path.exists():
        raise RawFilesMissing(
            f"QK-Video's raw file is not there: looked for {FILE} in {raw_dir}. It is part of "
            "Tenrec; its authors (github.com/yuangh-x/2022-NIPS-Tenrec) give it out after an "
            "application: https://static.qblv.qq.com/qblv/h5/algo-frontend/tenrec_dataset.html. "
            "Unpack it and put the file into that folder."
        )
    return [path]


def read(files: list[Path], raw_dir: Path, options: Mapping[str, Any]) -> Blocks:
    """Yield the rows of the raw file, all columns."""
    raw = RawFile(files[0], ("user_id", *LABELS), others=COLUMNS)
    counts = TokenCounts()
    for rows in raw.blocks(["user_id"], doing="Counting users of"):
        counts.add(rows["user_id"])
    cuts = Cuts(*counts.table())
    for rows in raw.blocks(COLUMNS):
        yield rows, cuts.place(rows["user_id"].to_numpy())


class Cuts:
    """Places each row by its user's number of rows (``counts``) and how many of them came before."""

    def __init__(self, users: pl.Series, counts: pl.Series) -> None:
        order = users.arg_sort()
        rows = counts[order].to_numpy().astype(np.int64)
        self._users = users[order].to_numpy()
        self._valid_from = 8 * rows // 10
        self._test_from = 9 * rows // 10
        self._seen = np.zeros(len(rows), dtype=np.int64)

    def place(self, users: Array) -> Array:
        """Return the split of each row of the next block, (rows,) uint8."""
        index = np.searchsorted(self._users, users)
        if index.max() == len(self._users) or (self._users[index] != users).any():
            raise DataError(f"{FILE}: the file changed while it was read. Start again.")
        # Equal users follow each other in `order`, in file order, so that the distance to the
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


PREPARER = Preparer(name="qkvideo", version=1, find_raw=find_raw, read=read)
