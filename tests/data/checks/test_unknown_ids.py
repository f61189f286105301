"""What a run reports of unknown ids."""

import logging

import pytest

from fuxictr_stem.data.checks.unknown_ids import report_ids, worst
from tests.support.datasets import feature
from tests.support.opened_caches import opened, remarks


def test_numbers_written_otherwise_are_unknown(tmp_path, caplog):
    columns = {
        "train": {"user": ["12", "13"] * 4, "item": [f"i{i % 4}" for i in range(8)]},
        "valid": {"user": ["12.0", "13.0"] * 4, "item": ["i0", "i1", "i2", "new"] * 2},
    }
    features = [feature("user"), feature("item")]
    cache = opened(tmp_path, columns, features)
    assert cache.unknown == {
        "train": {"user": 0.0, "item": 0.0},
        "valid": {"user": 1.0, "item": 0.25},
        "test": {"user": 0.0, "item": 0.0},
    }
    (text,) = remarks(cache)
    assert text == (
        "column 'user': 100.0 % of the ids of valid are unknown, 0.0 % of train's, such as '12.0', "
        "where train has '12'; write both in one form."
    )
    # A cached run says the same, of the columns that it uses.
    again = opened(tmp_path, columns, features)
    assert (again.unknown, again.remarks) == (cache.unknown, cache.remarks)
    params = {"embedding_dim": 4, "group_id": None}
    with caplog.at_level(logging.DEBUG):
        assert report_ids(again, params) == cache.unknown
    assert "Unknown ids of train: none" in caplog.text
    assert "Unknown ids of valid: user 100.0 %, item 25.0 %" in caplog.text
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert text in warned[0]
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        assert report_ids(again, params | {"use_features": ["item"]})["valid"] == {"item": 0.25}
    assert "user" not in caplog.text


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({}, "none"),
        ({"a": 0.0}, "none"),
        ({"a": 0.0, "b": 0.25}, "b 25.0 %"),
        ({"a": 0.1, "b": 0.5, "c": 0.3}, "b 50.0 %, c 30.0 %, a 10.0 %"),
        (
            {"a": 0.1, "b": 0.5, "c": 0.3, "d": 0.2, "e": 0.0},
            "b 50.0 %, c 30.0 %, d 20.0 % (1 more up to 10.0 %)",
        ),
    ],
)
def test_the_worst_columns_are_named(shares, text):
    assert worst(shares) == text
