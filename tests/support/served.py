"""Rows to score, the commands that score them, and what the scores are compared with."""

import json

import numpy as np

from fuxictr_stem.cli import main

LABELS = ["like", "view"]


COLUMNS = ["user", "item", "age", "tags", "author"]


GOOD = {"user": "u1", "item": "i1", "age": 1.0, "tags": "t1", "author": "a1"}


def assert_scores(scores, expected):
    assert list(scores) == LABELS
    for label in LABELS:
        assert scores[label].dtype == np.float32
        np.testing.assert_allclose(scores[label], expected[f"{label}_pred"], atol=1e-5, rtol=0)


SCORES = ["like_pred", "view_pred"]


def predict(finished, *more, out="out.parquet"):
    """Run the command; return its exit code."""
    return main(["predict", "--run", str(finished.folder), "--out", out, *map(str, more)])


def without_labels(finished):
    return finished.test.drop("like", "view")


def assert_same(scores, finished):
    """Compare scores with those that the run has saved of its test split, bit for bit."""
    saved = finished.saved()
    for name in SCORES:
        np.testing.assert_array_equal(np.asarray(scores[name]), saved[name].to_numpy())


def result(finished, split="test"):
    return json.loads((finished.folder / "result.json").read_text())[split]
