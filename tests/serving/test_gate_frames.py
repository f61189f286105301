"""Which experts a run's gates listen to: of every row, and their means."""

import numpy as np
import pandas as pd
import polars as pl


def test_gate_weights_of_rows_and_their_means(run, finished):
    means = run.gate_weights(finished.test)
    assert means.columns == ["place", "task", "expert", "mean", "std"]
    assert set(means["task"]) == {"like", "view"}
    assert set(means["expert"]) == {"like.1", "view.1", "shared.1", "shared.2"}
    sums = means.group_by("place", "task").agg(pl.col("mean").sum())
    np.testing.assert_allclose(sums["mean"], 1, rtol=1e-6)
    by_row = run.gate_weights(finished.test, by_row=True)
    assert by_row.height == finished.test.height
    for place, task, expert, mean, std in means.iter_rows():
        weights = by_row[f"{place}/{task}/{expert}"]
        assert weights.dtype == pl.Float32
        np.testing.assert_allclose(weights.mean(), mean, rtol=1e-5)
        np.testing.assert_allclose(weights.std(ddof=0), std, rtol=1e-3, atol=1e-7)
    # The order of the rows is theirs.
    turned = run.gate_weights(finished.test.reverse(), by_row=True)
    np.testing.assert_allclose(turned.reverse().to_numpy(), by_row.to_numpy(), rtol=1e-4)


def test_gate_weights_are_of_the_kind_of_the_data(run, finished):
    finished.test.write_csv("rows.csv")
    expected = run.gate_weights(finished.test)
    assert run.gate_weights("rows.csv").equals(expected)
    frame = finished.test.to_pandas().set_index(pd.Index(range(100, 300)))
    means, by_row = run.gate_weights(frame), run.gate_weights(frame, by_row=True)
    assert isinstance(means, pd.DataFrame)
    np.testing.assert_allclose(means["mean"], expected["mean"])
    assert by_row.index.tolist() == list(range(100, 300))
