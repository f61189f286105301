"""The file of predictions: more columns lie next to their rows, or there is no file."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.training.evaluation import Predictions
from fuxictr_stem.training.predictions_file import write_predictions


def predictions(rows):
    y = np.arange(rows) % 2.0
    return Predictions({"y": y}, {"y": y / 3}, np.arange(rows))


@pytest.mark.parametrize("sizes", [[10], [4, 6], [1] * 10])
def test_blocks_of_any_size_are_next_to_their_rows(sizes, tmp_path):
    keys = [None if i == 3 else f"k{i}" for i in range(10)]
    starts = np.cumsum([0, *sizes])
    blocks = [
        pl.DataFrame({"group_key": keys[a:b]}, schema={"group_key": pl.String})
        for a, b in zip(starts, starts[1:], strict=False)
    ]
    path = tmp_path / "p.parquet"
    write_predictions(path, predictions(10), blocks)
    table = pq.read_table(path)
    assert table.column_names == ["y", "y_pred", "group", "group_key"]
    assert table["group_key"].to_pylist() == keys
    assert table["group"].to_pylist() == list(range(10))
    assert table["y"].to_pylist() == [0, 1] * 5
    plain = tmp_path / "plain.parquet"
    write_predictions(plain, predictions(10))
    assert pq.read_table(plain).equals(table.select(["y", "y_pred", "group"]))


@pytest.mark.parametrize("rows", [9, 11])
def test_other_rows_next_to_predictions_are_rejected(rows, tmp_path):
    blocks = [pl.DataFrame({"k": range(6)}), pl.DataFrame({"k": range(rows - 6)})]
    with pytest.raises(DataError, match=rf"10 rows were predicted, .* {rows}: they have changed"):
        write_predictions(tmp_path / "p.parquet", predictions(10), blocks)
    assert not list(tmp_path.iterdir())
