"""What is read of the rows' files and frames."""

import polars as pl

from fuxictr_stem.frames.training_rows import one_row


def test_many_figures_are_those_of_one_query():
    frame = pl.LazyFrame({"a": [1, 2]})
    figures = [(pl.col("a") * k).sum().alias(f"{k}") for k in range(1_001)]
    assert one_row(frame, figures) == [3 * k for k in range(1_001)]
    assert one_row(frame, []) == []
