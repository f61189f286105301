"""A file of logs with columns of each kind, and one whose columns are odd."""

import numpy as np
import polars as pl
import yaml

ROWS = 600


def logs(rows=ROWS):
    """Return rows with columns of each kind that `init` guesses."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, rows), rng.integers(0, 20, rows)
    click = (rng.random(rows) < 0.2 + 0.6 * (user % 2)).astype(int)
    buy = click * (rng.random(rows) < 0.5)
    number = rng.normal(size=rows).round(3)
    return pl.DataFrame(
        {
            "row": np.arange(rows) + 10**12,
            "user_id": [f"{value:06d}" for value in user],
            "item": item + 10**15,
            "price": rng.integers(1, 10_000, rows),
            "heat": ["NA" if value > 1 else str(value) for value in number],
            "tags": ["|".join("abcd"[: 1 + value % 4]) for value in item],
            "city": [None if value < 3 else f"c, {value}" for value in item],
            "source": ["app"] * rows,
            "ts": rng.permutation(rows) // 3 + 1_700_000_000,
            "click": click,
            "buy": [None if value < 2 else int(b) for value, b in zip(item, buy, strict=True)],
        }
    )


def columns_of(folder):
    """Return the dataset of a new project, and its features by name."""
    (dataset,) = yaml.safe_load((folder / "dataset_config.yaml").read_text()).values()
    return dataset, {entry["name"]: entry for entry in dataset["feature_cols"]}


def odd(rows=200):
    """Rows of which each column but x and y is odd in its own way."""
    number = np.arange(rows)
    return pl.DataFrame(
        {
            "x": [f"x{n % 5}" for n in number],
            "y": number % 2,
            "ts": number,
            "answer": ["no"] * rows,
            "rare": [int(n < 9) for n in number],
            "late": [None] * 180 + [0, 1] * 10,
            "zones": [f"2026-01-01T10:00:00{'Z' if n % 2 else '+01:00'}" for n in number],
            "hours": ["2026-01-01 1:00"] * rows,
        }
    )
