"""TikTok: track 1 of the ICME 2019 Short Video Understanding Challenge.

One file without header, twelve tab-separated columns. The split is the one of the published STEM
code: scikit-learn's ``train_test_split(test_size=0.1, random_state=42)`` takes the test rows, and
once more, on what is left, the validation rows. The very same rows are chosen here from numpy's
legacy generator alone, in a few bytes per row, and each split keeps the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.preparers.job import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import RawFile
from fuxictr_stem.data.preparers.splits import TEST, TRAIN, VALID, Blocks
from fuxictr_stem.errors import DataError

COLUMNS = (
    *("uid", "user_city", "item_id", "author_id", "item_city", "channel", "finish", "like"),
    *("music_id", "device_id", "create_time", "video_duration"),
)
FILE = "final_track1_train.txt"
# A folder with this file holds made-up data, which must never pass for the official file.
SYNTHETIC_NOTE = "SYNTHETIC.txt"

_PATTERN = "final_track1_train*.txt"
_TEST_SHARE = 0.1
_SEED = 42


def find_raw(raw_dir: Path, options: Mapping[str, Any]) -> list[Path]:
    """Return the one raw file."""
    files = sorted(raw_dir.glob(_PATTERN))
    if not files:
        raise RawFilesMissing(
            f"TikTok's raw file is not there: looked for {FILE} (or one file {_PATTERN}) in "
            f"{raw_dir}. It is track 1 of the ICME 2019 Short Video Understanding Challenge; the "
            "official site is closed, so ask for it by its file name where copies of the "
            "challenge's data are kept (12 tab-separated columns, 275,855,531 rows), unpack it "
            "and put it into that folder."
        )
    if len(files) > 1:
        raise DataError(
            f"More than one file matches {_PATTERN} in {raw_dir}: "
            f"{', '.join(file.name for file in files)}. Leave one there."
        )
    if (raw_dir / SYNTHETIC_NOTE).exists():
        raise DataError(
            f"{files[0]} is synthetic (see {SYNTHETIC_NOTE} next to it), not the official file. "
            "Set prepare.raw_dir to a folder of its own for the official file."
        )
    return files


def read(files: list[Path], raw_dir: Path, options: Mapping[str, Any]) -> Blocks:
    """Yield the rows of the raw file."""
    raw = RawFile(files[0], COLUMNS, names=COLUMNS, separator="\t")
    splits = split_membership(raw.rows)
    done = 0
    for rows in raw.blocks():
        yield rows, splits[done : done + rows.height]
        done += rows.height


def split_membership(rows: int) -> Array:
    """Return which split each row belongs to, (rows,) uint8.

    The peak is some nine bytes per row: two int32 permutations and one byte of membership.
    """
    membership = np.full(rows, TRAIN, dtype=np.uint8)
    order, taken = _shuffled(rows)
    membership[order[:taken]] = TEST
    rest = order[taken:]
    order_of_rest, taken = _shuffled(len(rest))
    membership[rest[order_of_rest[:taken]]] = VALID
    return membership


def _shuffled(rows: int) -> tuple[Array, int]:
    """Return scikit-learn's permutation of the rows, and how many of its first it takes out."""
    order = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    np.random.RandomState(_SEED).shuffle(order)  # noqa: NPY002 - the published split's generator
    return order, math.ceil(_TEST_SHARE * rows)


PREPARER = Preparer(name="tiktok", version=1, find_raw=find_raw, read=read)
