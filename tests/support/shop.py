"""Rows of a small shop as pandas frames, with a column of each kind that `fit` guesses."""

import numpy as np
import pandas as pd


def shop_rows(rows: int, seed: int) -> pd.DataFrame:
    """Rows whose labels depend on user and item, so that a model can learn something."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 20, rows), rng.integers(0, 15, rows)
    click = (user % 4 + item % 5 > 4) ^ (rng.random(rows) < 0.1)
    like = (user % 5 + item % 3 < 3) ^ (rng.random(rows) < 0.1)
    tags = [[f"t{tag}" for tag in rng.integers(0, 9, count)] for count in rng.integers(0, 4, rows)]
    return pd.DataFrame(
        {
            "user": user,
            "item": [f"i{number}" for number in item],
            "age": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(40, 9, rows)),
            "vip": rng.random(rows) < 0.3,
            "tags": tags,
            "click": click,
            "like": np.where(rng.random(rows) < 0.1, np.nan, like),
        }
    )
