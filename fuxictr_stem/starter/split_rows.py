"""Train, valid and test: by time, so that the model is measured on rows that came later; else at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from fuxictr_stem.config.schema import SEED
from fuxictr_stem.data.source.source_column import is_text
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.runtime.text_table import amount
from fuxictr_stem.starter.read_logs import Logs

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
"""The share of rows of each split, in time."""
_ROW = "\0row"
_MOST_NAMED = 4
_DATE = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d([.]\d+)?)?( ?(Z|UTC|[+-]\d\d:?\d\d))?)?$"
_ZONE = r" ?(Z|UTC|[+-]\d\d:?\d\d)$"


def by_time(logs: Logs, time: str) -> dict[str, pl.LazyFrame]:
    """Cut the rows at two moments: valid and test are the last tenths, and no moment is in two splits.

    Raises:
        DataError: A row has no time, or one that cannot be compared.
        ConfigError: There are too few different times.
    """
    column = _comparable(logs, time)
    moments = logs.frame.select(column).collect(engine="streaming").to_series().sort()
    first, second = (
        moments[min(len(moments) - 1, round(len(moments) * share))] for share in (0.8, 0.9)
    )
    splits = {
        "train": logs.frame.filter(column < first),
        "valid": logs.frame.filter((column >= first) & (column < second)),
        "test": logs.frame.filter(column >= second),
    }
    if not moments[0] < first < second:
        raise ConfigError(
            f"--time {time}: {len(moments):,} rows have {moments.n_unique():,} different times, "
            "too few to make valid and test of the last two tenths. Name a finer column, or leave "
            "--time out to split at random."
        )
    return splits


def _comparable(logs: Logs, time: str) -> pl.Expr:
    """Return the times, in a type that can be compared."""
    have = logs.frame.collect_schema()[time]
    column = pl.col(time)
    if have.is_numeric() or isinstance(have, (pl.Datetime, pl.Date)):
        bad = column.is_null() | (~column.is_finite() if have.is_float() else False)
        rule = "must have a time on each row"
    elif is_text(have):
        text = column.cast(pl.String)
        whole, number = (text.cast(kind, strict=False) for kind in (pl.Int64, pl.Float64))
        date = text.str.contains(_DATE).fill_null(False)
        zones = text.filter(date).str.extract(_ZONE).unique()
        facts = {"whole": whole.count(), "numbers": number.count(), "zones": zones.implode()}
        looked = logs.frame.select(**facts).collect(engine="streaming").row(0, named=True)
        if len(looked["zones"]) > 1:
            names = ", ".join(sorted(name or "none" for name in looked["zones"])[:_MOST_NAMED])
            raise DataError(
                f"--time {time}: holds several time zones ({names}). Convert them to one, such as UTC."
            )
        if looked["whole"] < looked["numbers"]:
            whole = number
        # Dates that begin with the year compare as text, if all write them alike.
        bad = ~whole.is_finite().fill_null(False) if looked["numbers"] else ~date
        rule = "must hold numbers, or dates such as 2026-11-28 or 2026-11-28 12:00:00"
        column = (
            whole
            if looked["numbers"]
            else text.str.replace("T", " ", literal=True).str.replace(_ZONE, "")
        )
    else:
        raise DataError(f"--time {time}: holds {have}. Name a column of numbers or dates.")
    first = logs.frame.with_row_index(_ROW).filter(bad).select(_ROW, time).head(1).collect()
    if len(first):
        row, value = first.row(0)
        shown = "nothing" if value is None else repr(value)
        raise DataError(f"--time {time}: {rule}, found {shown} in row {row + 1:,} of the data.")
    return column


def by_chance(logs: Logs) -> dict[str, pl.LazyFrame]:
    """Deal the rows to the splits by a seeded draw.

    Raises:
        ConfigError: There are too few rows.
    """
    draw = np.random.default_rng(SEED).choice(len(SHARES), logs.rows, p=list(SHARES.values()))
    if len(np.unique(draw)) < len(SHARES):
        raise ConfigError(f"--data: {amount(logs.rows, 'row')}, too few to split. Give hundreds.")
    # What a row drew, found by its number: the rows may be more than memory holds, a byte each is not.
    drawn = pl.lit(pl.Series("draw", draw.astype(np.uint8)))
    numbered = logs.frame.with_row_index(_ROW)
    return {
        split: numbered.filter(drawn.gather(pl.col(_ROW)) == number).drop(_ROW)
        for number, split in enumerate(SHARES)
    }


def write_splits(logs: Logs, splits: Mapping[str, pl.LazyFrame], folder: Path) -> None:
    """Write the splits into a folder, in the format that the rows came in, as they were.

    A number that is NaN is a missing one, as pandas and polars write it.
    """
    kinds = logs.frame.collect_schema()
    gaps = [pl.col(name).fill_nan(None) for name, have in kinds.items() if have.is_float()]
    for split, frame in splits.items():
        path = folder / f"{split}.{logs.data_format}"
        if logs.data_format == "csv":
            frame.sink_csv(path, separator=logs.sep)
        else:
            frame.with_columns(gaps).sink_parquet(path)
