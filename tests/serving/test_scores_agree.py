"""A file, a frame and a Scorer get the same scores, or the same message, whatever the rows look like."""

import re

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

import fuxictr_stem
from fuxictr_stem.errors import DataError
from fuxictr_stem.serving import Scorer

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

LABELS = ["like", "view"]
TEXTS = st.sampled_from(
    [*"ab", "u1", "u2", "u3", "i1", "i7", "a1", "a3", "new", "", " u1", "7", "é"]
)
IDS = st.integers(-3, 20)
NUMBERS = st.sampled_from([0.0, -1.5, 0.25, 1e6, 1e-30, 3.0])
BAD_NUMBERS = st.sampled_from([float("nan"), float("inf"), 1e300])
TOKENS = st.sampled_from(["t0", "t1", "t8", "new", "", "t1^t2"])
FEW_TEXTS = ["u1", "i1", "a1", "new"]

# What a column may hold: its values and their type. The first are as in training, others are odd.
TEXT_KINDS = [
    (TEXTS, pl.String),
    (st.sampled_from(FEW_TEXTS), pl.Categorical),
    (st.sampled_from(FEW_TEXTS), pl.Enum(FEW_TEXTS)),
    (IDS, pl.Int64),
    (IDS, pl.Int16),
    (NUMBERS, pl.Float64),
    (st.booleans(), pl.Boolean),
    (st.dates(), pl.Date),
    (st.lists(TEXTS, max_size=2), pl.List(pl.String)),
    (st.nothing(), pl.Null),
]
NUMBER_KINDS = [
    (NUMBERS, pl.Float64),
    (NUMBERS, pl.Float32),
    (IDS, pl.Int64),
    (st.integers(0, 200), pl.UInt8),
    (st.sampled_from(["1.5", " 2 ", "-1e3", "0"]), pl.String),
    (st.booleans(), pl.Boolean),
    (NUMBERS | BAD_NUMBERS, pl.Float64),
    (st.sampled_from(["1.5", "old", ""]), pl.String),
    (st.dates(), pl.Date),
    (st.nothing(), pl.Null),
]
LIST_KINDS = [
    (TOKENS, pl.String),
    (st.lists(TOKENS, max_size=5), pl.List(pl.String)),
    (st.lists(TOKENS, min_size=2, max_size=2), pl.Array(pl.String, 2)),
    (st.sampled_from(FEW_TEXTS), pl.Categorical),
    (st.lists(IDS, max_size=3), pl.List(pl.Int64)),
    (IDS, pl.Int64),
    (st.nothing(), pl.Null),
]
KINDS = {
    "user": TEXT_KINDS,
    "item": TEXT_KINDS,
    "age": NUMBER_KINDS,
    "tags": LIST_KINDS,
    "author": TEXT_KINDS,
}


@st.composite
def any_frame(draw):
    """Columns of any kind in any order, with missing values, and perhaps without a column."""
    rows = draw(st.integers(0, 6) if draw(st.integers(0, 9)) == 0 else st.integers(1, 6))
    # Mostly as in training: else hardly any frame could be scored.
    plain = draw(st.integers(0, 3))
    series = []
    for name, kinds in KINDS.items():
        odd = draw(st.integers(0, 3)) == 0 if plain else draw(st.booleans())
        values, dtype = draw(st.sampled_from(kinds)) if odd else kinds[0]
        value = st.none() if dtype == pl.Null else st.one_of(values, values, st.none())
        cells = draw(st.lists(value, min_size=rows, max_size=rows))
        series.append(pl.Series(name, cells, dtype=dtype, strict=False))
    if draw(st.integers(0, 7)) == 0:
        series.pop(draw(st.integers(0, 4)))
    if draw(st.booleans()):
        series.append(pl.Series("more", range(rows), dtype=pl.Int64))
    return pl.DataFrame(draw(st.permutations(series)))


def outcome(score, rows):
    """Return what rows get: arrays by label, or a message."""
    try:
        scores = score(rows)
    except DataError as error:
        return str(error)
    if isinstance(scores, pl.DataFrame):
        scores = {label: scores[f"{label}_pred"].to_numpy() for label in LABELS}
    return scores


def assert_alike(found, expected, about):
    assert isinstance(found, str) == isinstance(expected, str), (about, found, expected)
    if isinstance(expected, dict):
        for label in LABELS:
            np.testing.assert_allclose(found[label], expected[label], atol=1e-5, rtol=0)
    elif about == "file":
        # It names the file; what it says of which columns is the same.
        assert columns_in(found) == columns_in(expected), (found, expected)
    else:
        assert found == expected


def columns_in(message):
    return sorted(set(re.findall(r"'(user|item|age|tags|author)'", message)))


def check(run, scorer, folder, frame):
    expected = outcome(run.predict, frame)
    assert_alike(outcome(scorer.score, frame), expected, "Scorer")
    path = folder / "rows.parquet"
    frame.write_parquet(path)
    assert_alike(outcome(run.predict, path), expected, "file")
    if isinstance(expected, dict):
        rows = frame.to_dicts()
        alone = [outcome(scorer.score, row) for row in rows]
        assert not [row for row in alone if isinstance(row, str)], alone
        for label in LABELS:
            values = np.concatenate([scores[label] for scores in alone])
            np.testing.assert_allclose(values, expected[label], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def run(served):
    return fuxictr_stem.load(served.run.folder)


@pytest.fixture(scope="module")
def scorer(served):
    return Scorer(served.folder)


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_a_missing_column_hides_no_wrong_type(run, scorer, tmp_path):
    frame = pl.DataFrame({"item": ["i1"], "age": ["1"], "tags": ["t1"], "author": [["a1"]]})
    check(run, scorer, tmp_path, frame)
    with pytest.raises(DataError, match=r"(?s)no column 'user'.*'author'.*lists are for sequences"):
        run.predict(tmp_path / "rows.parquet")


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(frame=any_frame())
def test_some_frames(run, scorer, tmp_path, frame):
    check(run, scorer, tmp_path, frame)


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
@given(frame=any_frame())
def test_many_frames(run, scorer, tmp_path, frame):
    check(run, scorer, tmp_path, frame)
