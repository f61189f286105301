"""KuaiRand-1K and KuaiRand-Pure (Gao et al., CIKM 2022): standard logs with static features.

Rows are split by the log's ``date``: before ``valid_date`` train, from there to before
``test_date`` valid, from ``test_date`` on test, so that no row is lost whatever the dates. The
defaults are the last two days of the data. Each row gets its user's and its video's columns (a
left join; a key twice in a feature file must be the same row twice) and two columns of ours:

- ``hour``: ``hourmin // 100``, the hour of the day.
- ``duration_bucket``: the video's length, ``duration_ms``, in steps of five seconds; all from
  five minutes on share the last one.

Feature files are held in memory, logs are read in blocks.
"""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from fuxictr_stem.data.preparers.preparer import PERMISSION, Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import Rule, Watch, read_blocks
from fuxictr_stem.data.preparers.splits import TEST, TRAIN, VALID, SplitWriter
from fuxictr_stem.errors import ConfigError, DataError, short
from fuxictr_stem.runtime.progress import track

logger = logging.getLogger(__name__)

LABELS = (
    "is_click",
    "long_view",
    "is_like",
    "is_follow",
    "is_comment",
    "is_forward",
    "is_hate",
    "is_profile_enter",
)
_LOGS = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
_USERS = "user_features"
_VIDEOS = "video_features_basic"
_SUFFIXES = {"1k": "KuaiRand-1K", "pure": "KuaiRand-Pure"}
_LOG_INTEGERS = ("user_id", "video_id", "date", "hourmin", *LABELS)
_BUCKET_MS = 5_000
_LAST_BUCKET = 60
_FOUND = "__found__"
_LONGEST_MS = 2**31 - 1
_LOG_RULES = (
    Rule(
        "date",
        "a day as 20220507",
        pl.col("date").is_between(10_000_101, 99_991_231)
        & pl.col("date").cast(pl.String).str.to_date("%Y%m%d", strict=False).is_not_null(),
    ),
    Rule(
        "hourmin",
        "hour and minute as 2359",
        pl.col("hourmin").is_between(0, 2359) & (pl.col("hourmin") % 100 < 60),
    ),
    Rule(
        "duration_ms",
        f"a number from 0 to {_LONGEST_MS:,}, or empty",
        pl.col("duration_ms").is_null()
        | pl.col("duration_ms").cast(pl.Float64, strict=False).is_between(0, _LONGEST_MS),
    ),
)


@dataclass(frozen=True)
class KuaiRandOptions:
    """What can be chosen for KuaiRand.

    Attributes:
        suffix: Which of the two data sets: "1k" or "pure".
        valid_date: The first day of the validation rows, as the log writes it: yyyymmdd.
        test_date: The first day of the test rows, likewise.
        allow_missing_log: Go on with one log when the other is not there.
    """

    suffix: str
    valid_date: int = 20220507
    test_date: int = 20220508
    # The rows follow from the raw files, which the record names; this only allows them.
    allow_missing_log: bool = field(default=False, metadata={PERMISSION: True})

    def __post_init__(self) -> None:
        problems = []
        if self.suffix not in tuple(_SUFFIXES):  # a dict would ask a list for its hash
            problems.append(f"prepare.suffix: must be 1k or pure, found {short(self.suffix)}.")
        dates = {"valid_date": self.valid_date, "test_date": self.test_date}
        bad = {name: value for name, value in dates.items() if not _is_date(value)}
        problems += [
            f"prepare.{name}: must be a day as the log writes it, a number like 20220507, "
            f"found {short(value)}."
            for name, value in bad.items()
        ]
        if not bad and self.valid_date >= self.test_date:
            problems.append(
                "prepare.valid_date: must be before test_date, found "
                f"{self.valid_date} and {self.test_date}."
            )
        if not isinstance(self.allow_missing_log, bool):
            problems.append(
                "prepare.allow_missing_log: must be true or false, "
                f"found {short(self.allow_missing_log)}."
            )
        if problems:
            raise ConfigError("\n".join(problems))


def _is_date(value: object) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    try:
        datetime.datetime.strptime(str(value), "%Y%m%d")
    except ValueError:
        return False
    return len(str(value)) == 8


def _locate(raw_dir: Path, stem: str, suffix: str) -> Path | None:
    """Return the first of raw_dir/x.csv, raw_dir/x.csv.gz, and the same in raw_dir/data."""
    for folder in (raw_dir, raw_dir / "data"):
        for ending in (".csv", ".csv.gz"):
            path = folder / f"{stem}_{suffix}{ending}"
            if path.exists():
                return path
    return None


def find_raw(raw_dir: Path, options: KuaiRandOptions) -> list[Path]:
    """Return the logs, in order of time, the user file and the video file.

    Raises:
        RawFilesMissing: One is not there; a log alone may be, if the options say so.
    """
    suffix = options.suffix
    found = {stem: _locate(raw_dir, stem, suffix) for stem in (*_LOGS, _USERS, _VIDEOS)}
    missing = [stem for stem, path in found.items() if path is None]
    only_a_log = len(missing) == 1 and missing[0] in _LOGS
    if missing and not (only_a_log and options.allow_missing_log):
        name = _SUFFIXES[suffix]
        names = ", ".join(f"{stem}_{suffix}.csv" for stem in missing)
        hint = " To go on without it, set prepare.allow_missing_log: true." if only_a_log else ""
        raise RawFilesMissing(
            f"{name}: looked for {names} (or the same with .gz) in {raw_dir} and "
            f"{raw_dir / 'data'}. Get {name}.tar.gz from https://kuairand.com or "
            "https://zenodo.org/records/10439422 and unpack it: the files are in its folder data/, "
            f"which goes into {raw_dir}.{hint}"
        )
    return [path for path in found.values() if path is not None]


def write_splits(
    files: list[Path], raw_dir: Path, options: KuaiRandOptions, writer: SplitWriter
) -> None:
    """Write each row of the logs, with its features, into its split.

    Raises:
        DataError: A raw file is damaged, a feature file contradicts itself, or a log holds a day,
            an hour or a duration that cannot be.
    """
    *logs, user_file, video_file = files
    if len(logs) < len(_LOGS):
        logger.warning(
            "ONE LOG IS MISSING, allowed by prepare.allow_missing_log: only %s is read from %s. "
            "The splits are not those of the whole data set.",
            logs[0].name,
            raw_dir,
        )
    users = read_features(user_file, "user_id")
    videos = read_features(video_file, "video_id")
    unmatched = {"user_id": 0, "video_id": 0}
    columns: list[str] = []
    for path in logs:
        watch = Watch(path, _LOG_RULES)
        for frame in track(read_blocks(path, _LOG_INTEGERS), f"Splitting {path.name}"):
            columns = columns or frame.columns
            _check_columns(path, frame.columns, columns)
            if not watch.passes(frame):
                continue  # from here on, rows are only looked through, for the count
            joined = frame.with_columns(*_derived(frame))
            for key, features in (("user_id", users), ("video_id", videos)):
                joined = _join(joined, features, key)
                unmatched[key] += joined[_FOUND].null_count()
                joined = joined.drop(_FOUND)
            writer.write(joined, _by_date(frame["date"].to_numpy(), options))
        watch.refuse_any()
    for key, rows in unmatched.items():
        if rows:
            logger.warning("%s rows have a %s without features: left empty.", f"{rows:,}", key)


def _check_columns(path: Path, found: list[str], wanted: list[str]) -> None:
    if "duration_ms" not in found:
        raise DataError(f"{path}: the first line names no column duration_ms.")
    if found != wanted:
        raise DataError(
            f"{path}: its columns must be those of the other log, in the same order "
            f"({', '.join(wanted)}), found {', '.join(found)}. Fetch both logs from one source."
        )


def _derived(frame: pl.DataFrame) -> list[pl.Series]:
    milliseconds = frame["duration_ms"].cast(pl.Float64)
    bucket = (milliseconds / _BUCKET_MS).floor().clip(upper_bound=_LAST_BUCKET).cast(pl.Int64)
    return [(frame["hourmin"] // 100).alias("hour"), bucket.alias("duration_bucket")]


def _by_date(dates: np.ndarray, options: KuaiRandOptions) -> np.ndarray:
    return np.where(
        dates < options.valid_date, TRAIN, np.where(dates < options.test_date, VALID, TEST)
    )


def _join(frame: pl.DataFrame, features: pl.DataFrame, key: str) -> pl.DataFrame:
    twice = [name for name in features.columns if name in frame.columns and name != key]
    if twice:
        raise DataError(f"{', '.join(twice)}: a column of the {key} features and of the log.")
    return frame.join(features, on=key, how="left", maintain_order="left")


def read_features(path: Path, key: str) -> pl.DataFrame:
    """Return a feature file, one row per key, its values as text.

    Raises:
        DataError: A key has two different rows, or the file is damaged.
    """
    features = pl.concat(list(read_blocks(path, [key])))
    if features[key].is_duplicated().any():
        features = features.unique(maintain_order=True)
        twice = features.filter(features[key].is_duplicated())
        if twice.height:
            raise DataError(
                f"{path}: {key} {twice[key][0]} has more than one row, and they differ "
                f"({twice[key].n_unique():,} such keys), so a log row could not be matched."
            )
    return features.with_columns(pl.lit(True).alias(_FOUND))


PREPARER = Preparer(
    name="kuairand",
    version=1,
    options=KuaiRandOptions,
    find_raw=find_raw,
    write_splits=write_splits,
)
