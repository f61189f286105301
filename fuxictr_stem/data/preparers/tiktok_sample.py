"""A synthetic stand-in for TikTok: made-up impressions with two tasks that pull apart.

It has the official file's twelve columns and format, is drawn from a seed in about a second, and
goes through the very preparer of the official file. It shows that everything works and what
conflict between tasks does; it says nothing about the real data.

How a row comes about. Users and items have long-tailed frequencies and meet independently of each
other. An item has an author, a music, a city, a channel, a duration and a time of creation, a user
has a city and two devices. Every user, item, author, music, channel, city and device has an effect
in each of four *parts*, user and item add the product of their tastes in each part, and the
duration has an effect in ``conflict``: short videos are finished more and liked less. The sum over
all of them, scaled to variance one over the rows and made uncorrelated between the parts, is a
part's value z:

    logit(finish) = a + .6 z_shared + 1.0 z_conflict + .6 z_finish
    logit(like)   = b + .9 z_shared - 1.3 z_conflict + 1.0 z_like

So what is in ``conflict`` makes people finish a video and not like it, and the other way round;
what is in ``shared`` helps both; ``finish`` and ``like`` matter to their own task only. An
embedding that serves both tasks cannot serve the conflicting part of both well; that is the
situation the STEM paper describes. a and b are set so that the mean probabilities are the options
``finish_rate`` and ``like_rate``, by default the published rates of the real data. Labels are
drawn from the probabilities, independently. All eight features of the config carry something of
both labels.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import Field

from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_value
from fuxictr_stem.config.value_types import CountOrZero
from fuxictr_stem.data.preparers import tiktok
from fuxictr_stem.data.preparers.preparer import Preparer
from fuxictr_stem.data.preparers.splits import SplitWriter
from fuxictr_stem.errors import ConfigError, DataError, OutputError

logger = logging.getLogger(__name__)

_TEMPORARY = ".making-"

PARTS = ("shared", "conflict", "finish", "like")
WEIGHTS = {
    "finish": {"shared": 0.6, "conflict": 1.0, "finish": 0.6},
    "like": {"shared": 0.9, "conflict": -1.3, "like": 1.0},
}
# The share of each source of preference, before a part is scaled to variance one.
_STRENGTH = {
    "uid": 1.0,
    "item_id": 0.8,
    "author_id": 0.6,
    "music_id": 0.4,
    "item_city": 0.4,
    "channel": 0.6,
    "device_id": 0.3,
}
_DURATION_STRENGTH = {"conflict": -0.7}
_TASTE_STRENGTH = 0.6
_TASTE_DIM = 2
# Rows are drawn in memory, some 240 bytes each.
_OPTIONS = {
    "rows": Annotated[int, Field(ge=1_000, le=10_000_000)],
    "seed": CountOrZero,
    "finish_rate": Annotated[float, Field(gt=0, lt=1)],
    "like_rate": Annotated[float, Field(gt=0, lt=1)],
}


@dataclass(frozen=True)
class TikTokSampleOptions:
    """What can be chosen for the stand-in.

    Attributes:
        rows: Impressions in all; users and items grow with them, so that ids stay as frequent.
        seed: Of the generator; the same options give the same bytes.
        finish_rate: The expected share of positives of finish.
        like_rate: The same of like.
    """

    rows: int = 150_000
    seed: int = 2024
    finish_rate: float = 0.283
    like_rate: float = 0.016

    def __post_init__(self) -> None:
        problems = Problems()
        for name, kind in _OPTIONS.items():
            read_value(kind, getattr(self, name), f"prepare.{name}", problems)
        if problems.lines:
            raise ConfigError("\n".join(problems.lines))


@dataclass(frozen=True)
class Impressions:
    """Drawn rows together with the truth behind them.

    Attributes:
        columns: The twelve raw columns, (rows,) each.
        parts: The value z of each part in each row.
        probability: The probability that each label was drawn from.
    """

    columns: dict[str, np.ndarray]
    parts: dict[str, np.ndarray]
    probability: dict[str, np.ndarray]


def draw(options: TikTokSampleOptions) -> Impressions:
    """Draw all impressions."""
    rng = np.random.default_rng(options.seed)
    rows = options.rows
    sizes = {
        "uid": max(rows // 100, 40),
        "item_id": max(rows // 75, 50),
        "author_id": max(rows // 250, 25),
        "music_id": max(rows // 500, 20),
        "device_id": max(rows // 80, 50),
        "item_city": 120,
        "user_city": 300,
        "channel": 5,
    }
    user = _frequent_first(rng, sizes["uid"], rows)
    item = _frequent_first(rng, sizes["item_id"], rows)
    of_item = {
        name: _frequent_first(rng, sizes[name], sizes["item_id"])
        for name in ("author_id", "music_id", "item_city", "channel")
    }
    devices = rng.integers(0, sizes["device_id"], (sizes["uid"], 2))
    second = (rng.uniform(size=rows) < 0.15).astype(np.int64)
    duration = np.rint(5 + 9 * np.exp(0.55 * rng.standard_normal(sizes["item_id"]))).clip(5, 60)
    index = {
        "uid": user,
        "item_id": item,
        **{name: values[item] for name, values in of_item.items()},
        "device_id": devices[user, second],
    }
    parts = _preferences(rng, index, sizes, np.log(duration / 13)[item])

    probability = {}
    for label, rate in (("finish", options.finish_rate), ("like", options.like_rate)):
        logit = np.zeros(rows)
        for part, weight in WEIGHTS[label].items():
            logit += weight * parts[part]
        probability[label] = _sigmoid(logit + _intercept(logit, rate))

    # Ids look as in the official file: scattered numbers, -1 for an unknown music.
    ids = {name: _ids(rng, sizes[name], spread=20) for name in ("uid", "item_id", "author_id")}
    ids |= {name: _ids(rng, sizes[name], spread=20) for name in ("music_id", "device_id")}
    ids |= {name: _ids(rng, sizes[name], spread=3) for name in ("item_city", "user_city")}
    ids["music_id"][0] = -1
    ids["channel"] = np.arange(sizes["channel"])
    index["user_city"] = rng.integers(0, sizes["user_city"], sizes["uid"])[user]
    created = 53_080_000_000 + rng.integers(0, 6_000_000, sizes["item_id"])
    columns = {name: ids[name][values] for name, values in index.items()}
    columns["create_time"] = created[item]
    columns["video_duration"] = duration[item].astype(np.int64)
    for label, chance in probability.items():
        columns[label] = (rng.uniform(size=rows) < chance).astype(np.int64)
    return Impressions({name: columns[name] for name in tiktok.COLUMNS}, parts, probability)


def _frequent_first(rng: np.random.Generator, size: int, rows: int) -> np.ndarray:
    """Draw indices below ``size`` with Zipf-like frequencies, the first the most frequent."""
    weight = (np.arange(size) + 0.05 * size + 1) ** -0.8
    cumulative = np.cumsum(weight) / weight.sum()
    return np.searchsorted(cumulative, rng.uniform(size=rows)).clip(max=size - 1)


def _preferences(
    rng: np.random.Generator,
    index: dict[str, np.ndarray],
    sizes: dict[str, int],
    log_duration: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return each part's value in each row: mean zero, variance one, uncorrelated."""
    parts: dict[str, np.ndarray] = {}
    for part in PARTS:
        value = _DURATION_STRENGTH.get(part, 0.0) * _standard(log_duration)
        for name, strength in _STRENGTH.items():
            effect = _standard(rng.standard_normal(sizes[name]))
            value = value + strength * effect[index[name]]
        taste = [rng.standard_normal((sizes[name], _TASTE_DIM)) for name in ("uid", "item_id")]
        product = (taste[0][index["uid"]] * taste[1][index["item_id"]]).sum(axis=1)
        value = value + _TASTE_STRENGTH * product / math.sqrt(_TASTE_DIM)
        # The few channels have effects that are alike in two parts by mere chance.
        for other in parts.values():
            value = _standard(value)
            value = value - (value * other).mean() * other
        parts[part] = _standard(value)
    return parts


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _intercept(logit: np.ndarray, rate: float) -> float:
    """Return what to add to the logits for a mean probability of ``rate``, by bisection."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(logit + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def _ids(rng: np.random.Generator, size: int, spread: int) -> np.ndarray:
    """Return ``size`` different numbers below ``size * spread``."""
    return np.argsort(rng.uniform(size=size * spread), kind="stable")[:size]


def write_raw(raw_dir: Path, options: TikTokSampleOptions) -> Path:
    """Write the rows as a raw file in the official format, and a note that they are made up.

    Raises:
        DataError: The folder holds a raw file that was not made here.
        OutputError: The file cannot be written.
    """
    path, note = raw_dir / tiktok.FILE, raw_dir / tiktok.SYNTHETIC_NOTE
    if path.exists() and not note.exists():
        raise DataError(
            f"{path} exists and was not made here (no {note.name} beside it), so it is not "
            "overwritten. Set prepare.raw_dir to a folder of its own for the synthetic data."
        )
    temporary = None
    try:
        raw_dir.mkdir(parents=True, exist_ok=True)
        for stale in raw_dir.glob(f"{_TEMPORARY}*"):
            stale.unlink(
                missing_ok=True
            )  # left by a run that was killed; the caller holds the lock
        note.write_text(
            f"{tiktok.FILE} in this folder is synthetic: drawn at random in the format of the\n"
            "ICME 2019 challenge's file. No row of it is real.\n",
            encoding="utf-8",
        )
        handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=raw_dir)
        with open(handle, "wb") as file:
            pl.DataFrame(draw(options).columns).write_csv(
                file, separator="\t", include_header=False
            )
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(f"Cannot write {path}: {error}") from error
    return path


def find_raw(raw_dir: Path, options: TikTokSampleOptions) -> list[Path]:
    """Return no file: the raw file is made from the options, not looked for."""
    return []


def write_splits(
    files: list[Path], raw_dir: Path, options: TikTokSampleOptions, writer: SplitWriter
) -> None:
    """Make the raw file and split it as the official one is split."""
    path = write_raw(raw_dir, options)
    logger.info("Drew %s synthetic rows into %s", f"{options.rows:,}", path)
    tiktok.write_splits([path], raw_dir, tiktok.TikTokOptions(), writer)


PREPARER = Preparer(
    name="tiktok_sample",
    version=1,
    options=TikTokSampleOptions,
    find_raw=find_raw,
    write_splits=write_splits,
)
