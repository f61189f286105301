from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuxictr_stem.data.encoding import count_tokens
from fuxictr_stem.data.preparers import qkvideo
from fuxictr_stem.data.preparers.run_job import prepare
from tests.support.raw_files import (
    DATASETS,
    cut_per_user,
    dataset_in,
    read_splits,
    write_qkvideo,
)


@pytest.mark.parametrize("pending", [1, count_tokens._MERGE_ROWS])
def test_qkvideo_cuts_each_users_rows(tmp_path, block_bytes, monkeypatch, pending):
    monkeypatch.setattr(count_tokens, "_MERGE_ROWS", pending)
    users = np.random.default_rng(1).zipf(1.3, 700).clip(max=40) * 1_000_003
    frame = write_qkvideo(tmp_path / "raw", users)
    dataset = dataset_in(tmp_path, "qkvideo")
    prepare(dataset)
    assert {s: f.rows() for s, f in read_splits(dataset).items()} == cut_per_user(frame)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(users=st.lists(st.integers(-3, 6), min_size=1, max_size=60), cut=st.integers(1, 60))
def test_qkvideo_places_rows_across_blocks(users, cut):
    counts = pl.DataFrame({"user_id": users}).group_by("user_id").agg(pl.len().alias("rows"))
    cuts = qkvideo.Cuts(*counts)
    blocks = [np.array(users[i : i + cut]) for i in range(0, len(users), cut)]
    placed = np.concatenate([cuts.place(block) for block in blocks])
    expected = []
    for i, user in enumerate(users):
        n, k = users.count(user), users[:i].count(user)
        expected.append(0 if k < 8 * n // 10 else 1 if k < 9 * n // 10 else 2)
    assert placed.tolist() == expected


def test_qkvideo_leaves_watching_times_out_of_the_features():
    names = {n for col in DATASETS["qkvideo"]["feature_cols"] for n in np.atleast_1d(col["name"])}
    assert names == {*qkvideo.COLUMNS, "user_group"} - {*qkvideo.LABELS, "watching_times"}
