"""The shop's rows, and a call of `fit` on them."""

import pytest

import fuxictr_stem
from tests.support.fitted import LABELS, SMALL
from tests.support.shop import shop_rows


@pytest.fixture
def frames():
    rows = {"train": 400, "valid": 200, "test": 200}
    return {split: shop_rows(n, seed) for seed, (split, n) in enumerate(rows.items())}


@pytest.fixture
def fit(frames, tmp_path, root_logging):
    """Call `fit` on the rows of the shop, with changes; return the run's folder."""

    def call(**changes):
        arguments = {**frames, "labels": LABELS, "out": tmp_path / "shop", **SMALL, **changes}
        return fuxictr_stem.fit(**arguments).folder

    return call
