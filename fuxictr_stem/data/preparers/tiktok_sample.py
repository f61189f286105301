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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from pydantic import Field

from fuxictr_stem.config.schema import Prepare, key
from fuxictr_stem.config.value_types import CountOrZero
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.preparers import tiktok
from fuxictr_stem.data.preparers.job import Preparer
from fuxictr_stem.data.preparers.splits import Blocks
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime import outputs

logger = logging.getLogger(__name__)

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
_Rate = Annotated[float, Field(gt=0, lt=1)]
# Rows are drawn in memory, some 240 bytes each.
_Rows = Annotated[int, Field(ge=1_000, le=10_000_000)]


class TikTokSample(Prepare):
    """What can be chosen for the stand-in; the same options give the same bytes."""

    rows: _Rows = key("impressions; users and items grow with them", 150_000)
    seed: CountOrZero = key("seed of the generator", 2024)
    finish_rate: _Rate = key("expected share of positives of finish", 0.283)
    like_rate: _Rate = key("expected share of positives of like", 0.016)


@dataclass(frozen=True)
class Impressions:
    """Drawn rows together with the truth behind them."""

    columns: dict[str, Array]  # the raw ones
    parts: dict[str, Array]  # the value z of each part in each row
    probability: dict[str, Array]  # from which each label was drawn


def draw(rows: int, seed: int, finish_rate: float, like_rate: float) -> Impressions:
    """Draw all impressions, by the preparer's options."""
    rng = np.random.default_rng(seed)
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
    for label, rate in (("finish", finish_rate), ("like", like_rate)):
        logit = np.zeros(rows)
        for part, weight in WEIGHTS[label].items():
            logit += weight * parts[part]
        probability[label] = _sigmoid(logit + _intercept(logit, rate))

    # Ids look as in the official file: scattered numbers, -1 for an unknown music.
    spread = {"item_city": 3, "user_city": 3}
    scattered = ("uid", "item_id", "author_id", "music_id", "device_id", *spread)
    ids = {name: _ids(rng, sizes[name], spread.get(name, 20)) for name in scattered}
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


def _frequent_first(rng: np.random.Generator, size: int, rows: int) -> Array:
    """Draw indices below ``size`` with Zipf-like frequencies, the first the most frequent."""
    weight = (np.arange(size) + 0.05 * size + 1) ** -0.8
    cumulative = np.cumsum(weight) / weight.sum()
    return np.searchsorted(cumulative, rng.uniform(size=rows)).clip(max=size - 1)


def _preferences(
    rng: np.random.Generator, index: dict[str, Array], sizes: dict[str, int], log_duration: Array
) -> dict[str, Array]:
    """Return each part's value in each row: mean zero, variance one, uncorrelated."""
    parts: dict[str, Array] = {}
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


def _standard(values: Array) -> Array:
    return (values - values.mean()) / values.std()


def _sigmoid(logit: Array) -> Array:
    return 1 / (1 + np.exp(-logit))


def _intercept(logit: Array, rate: float) -> float:
    """Return what to add to the logits for a mean probability of ``rate``, by bisection."""
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(logit + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def _ids(rng: np.random.Generator, size: int, spread: int) -> Array:
    """Return ``size`` different numbers below ``size * spread``."""
    return np.argsort(rng.uniform(size=size * spread), kind="stable")[:size]


def write_raw(raw_dir: Path, columns: Mapping[str, Array]) -> Path:
    """Write rows as a raw file in the official format, and a note that they are made up.

    A raw file in the folder that was not made here is a DataError.
    """
    path, note = raw_dir / tiktok.FILE, raw_dir / tiktok.SYNTHETIC_NOTE
    if path.exists() and not note.exists():
        raise DataError(
            f"{path} exists and was not made here (no {note.name} next to it), so it is not "
            "overwritten. Set prepare.raw_dir to a folder of its own for the synthetic data."
        )
    outputs.check_writable(raw_dir, "prepare.raw_dir")
    outputs.remove_temporaries(raw_dir)  # the caller holds the lock
    outputs.write_text(
        note,
        f"{tiktok.FILE} in this folder is synthetic: drawn at random in the format of the\n"
        "ICME 2019 challenge's file. No row of it is real.\n",
    )
    with outputs.replacing(path) as temporary:
        pl.DataFrame(columns).write_csv(temporary, separator="\t", include_header=False)
    return path


def read(files: list[Path], raw_dir: Path, options: Mapping[str, Any]) -> Blocks:
    """Make the raw file and read it as the official one is read."""
    path = write_raw(raw_dir, draw(**options).columns)
    logger.info("Drew %s synthetic rows into %s", f"{options['rows']:,}", path)
    return tiktok.read([path], raw_dir, {})


# The raw file is made from the options, not looked for.
PREPARER = Preparer("tiktok_sample", 1, lambda raw_dir, options: [], read, TikTokSample)
