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

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl

from fuxictr_stem.config.schema import REQUIRED, Prepare, key
from fuxictr_stem.config.value_types import OneOf, must, named
from fuxictr_stem.data.preparers.job import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.raw import RawFile, Rule
from fuxictr_stem.data.preparers.splits import Blocks
from fuxictr_stem.errors import DataError

logger = logging.getLogger(__name__)

LABELS = (
    *("is_click", "long_view", "is_like", "is_follow"),
    *("is_comment", "is_forward", "is_hate", "is_profile_enter"),
)
_LOGS = ("log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08")
_FEATURES = {"user_id": "user_features", "video_id": "video_features_basic"}
_SUFFIXES = {"1k": "KuaiRand-1K", "pure": "KuaiRand-Pure"}
_LOG_INTEGERS = ("user_id", "video_id", "date", "hourmin", *LABELS)
_BUCKET_MS = 5_000
_LAST_BUCKET = 60
_LONGEST_MS = 2**31 - 1

_date, _hourmin, _duration = pl.col("date"), pl.col("hourmin"), pl.col("duration_ms")
_IS_DAY = (
    _date.is_between(10_000_101, 99_991_231)
    & _date.cast(pl.String).str.to_date("%Y%m%d", strict=False).is_not_null()
)
_RULES = (
    Rule("date", "a day such as 20220507", _IS_DAY),
    Rule(
        "hourmin",
        "an hour and minute such as 2359",
        _hourmin.is_between(0, 2359) & (_hourmin % 100 < 60),
    ),
    Rule(
        "duration_ms",
        f"a number from 0 to {_LONGEST_MS:,}, or empty",
        _duration.is_null() | _duration.cast(pl.Float64, strict=False).is_between(0, _LONGEST_MS),
    ),
)


def _is_day(value: int) -> bool:
    return abs(value) < 2**63 and pl.DataFrame({"date": [value]}).select(_IS_DAY).item()


_DAY_WORDS = named("a day as the log writes it, a number like 20220507", type="integer")
_Day = Annotated[int, must(_is_day), _DAY_WORDS]


class KuaiRand(Prepare):
    """What can be chosen for KuaiRand."""

    suffix: Annotated[str, OneOf(_SUFFIXES)] = key("which of the two data sets", REQUIRED)
    valid_date: _Day = key("the first day of the validation rows", 20220507)
    test_date: _Day = key("the first day of the test rows", 20220508)
    allow_missing_log: bool = key("whether to continue with one log if the other is missing", False)


def _check_dates(options: Mapping[str, Any]) -> dict[str, str]:
    valid, test = options["valid_date"], options["test_date"]
    problem = f"must be before test_date, found {valid} and {test}."
    return {"prepare.valid_date": problem} if valid >= test else {}


def find_raw(raw_dir: Path, options: Mapping[str, Any]) -> list[Path]:
    """Return the logs, in order of time, the user file and the video file."""
    suffix = options["suffix"]
    files = {stem: _locate(raw_dir, stem, suffix) for stem in (*_LOGS, *_FEATURES.values())}
    missing = [stem for stem, path in files.items() if path is None]
    only_a_log = len(missing) == 1 and missing[0] in _LOGS
    if missing and not (only_a_log and options["allow_missing_log"]):
        name = _SUFFIXES[suffix]
        names = ", ".join(f"{stem}_{suffix}.csv" for stem in missing)
        hint = " To continue without it, set prepare.allow_missing_log: true." if only_a_log else ""
        raise RawFilesMissing(
            f"{name}: looked for {names} (or the same with .gz) in {raw_dir} and "
            f"{raw_dir / 'data'}. Get {name}.tar.gz from https://kuairand.com or "
            "https://zenodo.org/records/10439422 and unpack it: the files are in its folder data/, "
            f"which goes into {raw_dir}.{hint}"
        )
    return [path for path in files.values() if path is not None]


def _locate(raw_dir: Path, stem: str, suffix: str) -> Path | None:
    """Return the first of raw_dir/x.csv, raw_dir/x.csv.gz, and the same in raw_dir/data."""
    names = [f"{stem}_{suffix}{ending}" for ending in (".csv", ".csv.gz")]
    paths = [folder / name for folder in (raw_dir, raw_dir / "data") for name in names]
    return next((path for path in paths if path.exists()), None)


def read(files: list[Path], raw_dir: Path, options: Mapping[str, Any]) -> Blocks:
    """Yield the rows of the logs with their features."""
    *log_files, user_file, video_file = files
    if len(log_files) < len(_LOGS):
        logger.warning(
            "ONE LOG IS MISSING, allowed by prepare.allow_missing_log: only %s is read from %s. "
            "The splits are not those of the whole data set.",
            *(log_files[0].name, raw_dir),
        )
    logs = [RawFile(path, _LOG_INTEGERS, others=["duration_ms"]) for path in log_files]
    features = {
        id_column: read_features(path, id_column)
        for id_column, path in zip(_FEATURES, (user_file, video_file), strict=True)
    }
    _check_columns(logs, features)
    unmatched: Counter[str] = Counter()
    for log in logs:
        for frame in log.blocks(rules=_RULES):
            bucket = (
                (_duration.cast(pl.Float64) / _BUCKET_MS).floor().clip(upper_bound=_LAST_BUCKET)
            )
            rows = frame.with_columns(hour=_hourmin // 100, duration_bucket=bucket.cast(pl.Int64))
            for id_column, table in features.items():
                unmatched[id_column] += int(
                    (~rows[id_column].is_in(table[id_column].implode())).sum()
                )
                rows = rows.join(table, on=id_column, how="left", maintain_order="left")
            first_days = (options["valid_date"], options["test_date"])
            yield rows, np.digitize(frame["date"].to_numpy(), first_days)
    for id_column, count in unmatched.items():
        if count:
            logger.warning(
                "%s rows have a %s without features: left empty.", f"{count:,}", id_column
            )


def _check_columns(logs: Sequence[RawFile], features: Mapping[str, pl.DataFrame]) -> None:
    first, last = logs[0], logs[-1]
    if first.columns != last.columns:
        raise DataError(
            f"{last.path}: its columns must be those of the other log, in the same order "
            f"({', '.join(first.columns)}), found {', '.join(last.columns)}. Download both logs "
            "from the same source."
        )
    columns = [*first.columns, "hour", "duration_bucket"]
    for id_column, table in features.items():
        twice = [name for name in table.columns if name in columns and name != id_column]
        if twice:
            raise DataError(
                f"{', '.join(twice)}: these columns are in both the {id_column} features and the log."
            )
        columns = [*columns, *table.columns]


def read_features(path: Path, id_column: str) -> pl.DataFrame:
    """Return a feature file as text, one row per id; DataError if an id has two different rows."""
    features = pl.concat(list(RawFile(path, [id_column]).blocks(doing="Reading"))).unique(
        maintain_order=True
    )
    twice = features.filter(features[id_column].is_duplicated())
    if twice.height:
        raise DataError(
            f"{path}: {id_column} {twice[id_column][0]} has more than one row, and they differ "
            f"({twice[id_column].n_unique():,} such keys), so a log row could not be matched."
        )
    return features


PREPARER = Preparer(
    name="kuairand",
    version=1,
    find_raw=find_raw,
    read=read,
    options=KuaiRand,
    permissions=frozenset({"allow_missing_log"}),
    problems=_check_dates,
)
