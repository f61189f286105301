"""Small networks on real impressions (environment: STEM_DATA) beat what counting alone reaches.

Their run folders then score the raw test file: the same numbers.
"""

import json

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fuxictr_stem import load
from tests.support.project import Project

pytestmark = pytest.mark.slow

# Test AUC of smoothed train rates of user and item, the floor that a model must pass.
FLOOR = {"long_view": 0.7235, "is_like": 0.863}

FEATURES = (
    ["user_id", "video_id", "author_id", "tag", "tag1", "video_type", "upload_type", "music_type"]
    + ["duration_bucket", "user_active_degree", "is_live_streamer", "is_video_author"]
    + [f"{what}_range" for what in ("follow_user_num", "fans_user_num", "friend_user_num")]
    + ["register_days_range"]
    + [f"onehot_feat{i}" for i in range(18)]
)

SIZES = {
    "STEMNet": {
        "num_shared_experts": 2,
        "num_specific_experts": 1,
        "expert_hidden_units": [64],
        "gate_hidden_units": [16],
        "tower_hidden_units": [32],
    },
    "SharedBottom": {"bottom_hidden_units": [128], "tower_hidden_units": [32]},
}


@pytest.mark.parametrize("name", SIZES)
def test_above_the_floor_on_kuairand_pure(name, stem_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.frames = {}
    project.dataset = {
        "data_root": "./data/",
        "data_format": "parquet",
        "min_categr_count": 2,
        **{
            f"{split}_data": str(stem_data / "kuairand_pure" / f"{split}.parquet")
            for split in ("train", "valid", "test")
        },
        "feature_cols": [{"name": FEATURES, "dtype": "str", "type": "categorical"}],
        "label_col": [{"name": label, "dtype": "float"} for label in FLOOR],
        "group_id": "user_id",
    }
    project.model = {
        "model": name,
        "dataset_id": "toy",
        "metrics": ["AUC", "gAUC"],
        "learning_rate": 2.0e-3,
        "embedding_regularizer": 1.0e-6,
        "batch_size": 4096,
        "epochs": 2,
        "embedding_dim": 8,
        **SIZES[name],
    }
    assert project.run() == 0
    folder = tmp_path / "checkpoints" / "toy" / "toy_test"
    test = json.loads((folder / "result.json").read_text())["test"]
    for label, floor in FLOOR.items():
        assert test[f"{label}_AUC"] > floor
        # Groups are the raw users: ranking within a user is harder than over all.
        assert 0.55 < test[f"{label}_gAUC"] < test[f"{label}_AUC"]
    data = stem_data / "kuairand_pure" / "test.parquet"
    rows = pl.read_parquet(data)
    assert load(folder).predict_to("scores.parquet", data, keep=["user_id"]) == rows.height
    scores = pl.read_parquet("scores.parquet")
    assert scores["user_id"].equals(rows["user_id"])
    for label in FLOOR:
        expected = pytest.approx(test[f"{label}_AUC"], abs=1e-12)
        assert roc_auc_score(rows[label], scores[f"{label}_pred"].cast(pl.Float64)) == expected
    assert dict(load(folder).evaluate(data)) == test
