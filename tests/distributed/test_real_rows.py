"""Real impressions (environment: STEM_DATA) on two ranks: the AUCs of one process."""

import os

import polars as pl
import pytest

from tests.support.project import result_of
from tests.support.ranks import Forked

pytestmark = pytest.mark.slow

LABELS = ["long_view", "is_like"]
FEATURES = ["user_id", "video_id", "author_id", "tag", "user_active_degree", "duration_bucket"]
# Such that one pair of rows more in order changes an AUC by less than 1e-5.
ROWS = {"train": 20_000, "valid": 10_000, "test": 10_000}


def test_aucs_are_those_of_one_process(stem_data, project, tmp_path):
    columns = [*FEATURES, *LABELS]
    project.frames = {
        split: pl.read_parquet(
            stem_data / "kuairand_pure" / f"{split}.parquet", columns=columns
        ).head(rows)
        for split, rows in ROWS.items()
    }
    project.dataset["feature_cols"] = [{"name": FEATURES, "dtype": "str", "type": "categorical"}]
    project.dataset["label_col"] = [{"name": label, "dtype": "float"} for label in LABELS]
    project.dataset["group_id"] = "user_id"
    project.model |= {"metrics": ["AUC"], "learning_rate": 1.0e-3, "batch_size": 2048}
    project.model |= {"embedding_regularizer": 1.0e-6, "state_steps": 5}
    assert project.run() == 0
    expected = result_of(project)
    assert expected["test"]["long_view_AUC"] > 0.6

    forked = Forked(tmp_path)
    os.rename("checkpoints", "alone")
    run = forked.start()
    said = forked.end(run)
    assert run.returncode == 0, said
    assert_aucs(result_of(project), expected)

    os.rename("checkpoints", "on_two")
    run = forked.start(AT_STEP="15 1 SIGKILL")
    forked.end(run)
    assert run.returncode != 0
    assert project.run("--resume") == 0
    assert_aucs(result_of(project), expected)


def assert_aucs(result, expected):
    for split in ("valid", "test"):
        assert len(expected[split]) == 3  # of each label, and their mean
        assert result[split] == pytest.approx(expected[split], abs=1e-4)
