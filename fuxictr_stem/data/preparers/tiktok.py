"""TikTok: track 1 of the ICME 2019 Short Video Understanding Challenge.

One file without header, twelve tab-separated columns. The split is the one of the published STEM
code: scikit-learn's ``train_test_split(test_size=0.1, random_state=42)`` takes the test rows, and
once more, on what is left, the validation rows. The very same rows are chosen here from numpy's
legacy generator alone, in a few bytes per row, and each split keeps the order of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuxictr_stem.data.preparers.preparer import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import read_blocks
from fuxictr_stem.data.preparers.splits import TEST, TRAIN, VALID, SplitWriter
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.progress import track

COLUMNS = (
    "uid",
    "user_city",
    "item_id",
    "author_id",
    "item_city",
    "channel",
    "finish",
    "like",
    "music_id",
    "device_id",
    "create_time",
    "video_duration",
)
FILE = "final_track1_train.txt"
# A folder with this file holds made-up data, which must never pass for the official file.
SYNTHETIC_NOTE = "SYNTHETIC.txt"

_PATTERN = "final_track1_train*.txt"
_TEST_SHARE = 0.1
_SEED = 42


@dataclass(frozen=True)
class TikTokOptions:
    """TikTok has no options: its split is published."""


def find_raw(raw_dir: Path, options: TikTokOptions) -> list[Path]:
    """Return the one raw file.

    Raises:
        RawFilesMissing: It is not there.
        DataError: There is more than one, or the folder holds synthetic data.
    """
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
            f"{files[0]} is synthetic (see {SYNTHETIC_NOTE} beside it), not the official file. "
            "Set prepare.raw_dir to a folder of its own for the official file."
        )
    return files


def split_membership(rows: int) -> np.ndarray:
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


def _shuffled(rows: int) -> tuple[np.ndarray, int]:
    """Return scikit-learn's permutation of the rows, and how many of its first it takes out."""
    order = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    np.random.RandomState(_SEED).shuffle(order)  # noqa: NPY002 - the published split's generator
    return order, math.ceil(_TEST_SHARE * rows)


def count_rows(path: Path) -> int:
    """Return the number of lines, a last one without line end included.

    Raises:
        DataError: The file cannot be read.
    """
    rows, last = 0, b"\n"
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 24):
                rows += block.count(b"\n")
                last = block[-1:]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
    return rows + (last != b"\n")


def write_splits(
    files: list[Path], raw_dir: Path, options: TikTokOptions, writer: SplitWriter
) -> None:
    """Write each row of the raw file into its split.

    Raises:
        DataError: The raw file is damaged.
    """
    path = files[0]
    rows = count_rows(path)
    membership = split_membership(rows)
    done = 0
    blocks = read_blocks(path, COLUMNS, names=COLUMNS, separator="\t")
    for frame in track(blocks, f"Splitting {path.name}", rows):
        # A file that grows while it is read is found by the caller, by its size.
        frame = frame.head(rows - done)
        writer.write(frame, membership[done : done + frame.height])
        done += frame.height
    if done != rows:
        raise DataError(
            f"{path}: {rows:,} lines were counted and {done:,} rows read. "
            "The file is damaged or is being written to."
        )


PREPARER = Preparer(
    name="tiktok",
    version=1,
    options=TikTokOptions,
    find_raw=find_raw,
    write_splits=write_splits,
)
