"""The encoder of rows of all types."""

import pytest

from fuxictr_stem.data.cache.open_cache import open_cache
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from tests.support.datasets import with_labels, write_dataset
from tests.support.rows_of_all_types import FEATURES, TRAIN


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    frame = with_labels(TRAIN)
    dataset = write_dataset(
        tmp_path_factory.mktemp("values"),
        {"train": frame, "valid": frame},
        FEATURES,
        data_format="parquet",
        null_values=["NA"],
    )
    return open_cache(dataset).folder


@pytest.fixture(scope="session")
def encoder(folder):
    return RowEncoder.load(folder)
