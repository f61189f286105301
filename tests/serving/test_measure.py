"""Metrics of the rows with each value of a column are those of these rows, with an interval."""

import numpy as np
import polars as pl

from fuxictr_stem.metrics import auc
from fuxictr_stem.serving import measure


def test_slices_are_the_rows_of_each_value(finished, run):
    frame = finished.test.with_columns(
        country=pl.when(pl.col("country") != "BR").then("country"),
        like=pl.when(pl.col("country") == "IN").then(1).otherwise("like"),
    )
    evaluation = run.evaluate(frame, ["AUC", "gAUC", "logloss", "NE"], by="country")
    scores = frame.with_columns(run.predict(frame))
    values = [part.value for part in evaluation.slices]
    assert set(values) == {"US", "DE", "IN", None}
    assert [part.rows for part in evaluation.slices] == sorted(
        (frame["country"].eq_missing(pl.Series([v], dtype=pl.String)).sum() for v in values),
        reverse=True,
    )
    for part in evaluation.slices:
        rows = scores.filter(pl.col("country").eq_missing(part.value))
        figure = part.figures["like_AUC"]
        if part.value == "IN":
            assert np.isnan(figure.value)
            assert figure.undefined == "no negative"
            assert part.figures["like_logloss"].low < part.figures["like_logloss"].high
            continue
        assert figure.value == auc(rows["like"], rows["like_pred"])
        assert figure.low <= figure.value <= figure.high
        assert part.figures["like_NE"].low < part.figures["like_NE"].high
    text = str(evaluation)
    assert "undefined (no negative)" in text
    assert "(missing)" in text
    slices = evaluation.as_json()["by"]["slices"]
    assert {part["value"] for part in slices} == set(values)
    one_class = next(part for part in slices if part["value"] == "IN")["metrics"]["like_AUC"]
    assert one_class == {"value": None, "low": None, "high": None, "undefined": "no negative"}


def test_an_interval_holds_the_metric_of_other_users(finished, run):
    """Where a slice has all rows, its interval is about as wide as AUC varies from sample to sample."""
    frame = finished.test.with_columns(all=pl.lit(1))
    figure = run.evaluate(frame, ["AUC"], by="all").slices[0].figures["like_AUC"]
    n, m = frame["like"].sum(), 200 - frame["like"].sum()
    # Hanley and McNeil's (1982) formula for independent rows.
    a = figure.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m))
    assert 0.5 * 3.92 * error < figure.high - figure.low < 2 * 3.92 * error


def test_many_values_are_cut_with_a_note(finished, run, monkeypatch):
    monkeypatch.setattr(measure, "MOST_VALUES", 3)
    evaluation = run.evaluate(finished.test, by="item")
    counts = finished.test["item"].value_counts()["count"].sort(descending=True)
    assert [part.rows for part in evaluation.slices] == counts[:3].to_list()
    assert evaluation.others == (len(counts) - 3, counts[3:].sum())
    assert f"and {len(counts) - 3} more values in {counts[3:].sum()} rows" in str(evaluation)
    assert evaluation.as_json()["by"]["more_values"] == len(counts) - 3
