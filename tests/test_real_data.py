"""Small networks on real impressions (environment: STEM_DATA) beat what counting alone reaches.

Their run folders then score the raw test file: the same numbers, and the same from an export.
"""

import json

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from fuxictr_stem import load
from fuxictr_stem.cli import main
from fuxictr_stem.serving import Scorer
from fuxictr_stem.serving.stored_rows import FLOAT32, STORED_AS
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


def train(folder, files, name, **settings):
    """Train a small network on impressions; return the folder of its run, and the test metrics."""
    project = Project(folder)
    project.frames = {}
    project.dataset = {
        "data_root": "./data/",
        "data_format": "parquet",
        "min_categr_count": 2,
        **{f"{split}_data": str(path) for split, path in files.items()},
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
        **settings,
    }
    assert project.run() == 0
    run = folder / "checkpoints" / "toy" / "toy_test"
    return run, json.loads((run / "result.json").read_text())["test"]


@pytest.fixture
def impressions(stem_data, tmp_path, monkeypatch):
    """The files of KuaiRand-Pure, by split; the current folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    splits = ("train", "valid", "test")
    return {split: stem_data / "kuairand_pure" / f"{split}.parquet" for split in splits}


@pytest.mark.parametrize("name", SIZES)
def test_above_the_floor_on_kuairand_pure(name, impressions, tmp_path):
    folder, test = train(tmp_path, impressions, name)
    for label, floor in FLOOR.items():
        assert test[f"{label}_AUC"] > floor
        # Groups are the raw users: ranking within a user is harder than over all.
        assert 0.55 < test[f"{label}_gAUC"] < test[f"{label}_AUC"]
    data = impressions["test"]
    rows = pl.read_parquet(data)
    assert load(folder).predict_to("scores.parquet", data, keep=["user_id"]) == rows.height
    scores = pl.read_parquet("scores.parquet")
    assert scores["user_id"].equals(rows["user_id"])
    for label in FLOOR:
        expected = pytest.approx(test[f"{label}_AUC"], abs=1e-12)
        assert roc_auc_score(rows[label], scores[f"{label}_pred"].cast(pl.Float64)) == expected
    assert dict(load(folder).evaluate(data)) == test


def aucs(rows, scores):
    """The AUC of each task."""
    return {label: roc_auc_score(rows[label], scores[label].astype(float)) for label in FLOOR}


def test_an_export_scores_real_rows_as_its_run_does(impressions, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    files = {split: tmp_path / path.name for split, path in impressions.items()}
    for split, path in impressions.items():
        pl.scan_parquet(path).gather_every(8 if split == "train" else 3).collect().write_parquet(
            files[split]
        )
    folder, test = train(tmp_path, files, "STEMNet", epochs=1, learning_rate=1.0e-2)
    rows = pl.read_parquet(files["test"])
    expected = {label: test[f"{label}_AUC"] for label in FLOOR}
    assert min(expected.values()) > 0.65
    scores = load(folder).predict(rows)
    predicted = {label: scores[f"{label}_pred"].to_numpy() for label in FLOOR}
    assert aucs(rows, predicted) == pytest.approx(expected, abs=1e-12)
    for tables in STORED_AS:
        capsys.readouterr()
        arguments = ["export", "--run", str(folder), "--out", tables, "--format", "onnx"]
        assert main([*arguments, "--tables", tables]) == 0
        printed = capsys.readouterr().out
        exported = aucs(rows, Scorer(tables).score(rows))
        if tables == FLOAT32:
            assert exported == pytest.approx(expected, abs=1e-6)
            continue
        changes = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:]}
        for label, auc in expected.items():
            before, _, change = map(float, changes[f"{label}_AUC"])
            assert before == pytest.approx(auc, abs=1e-6)
            assert 0 < abs(change) < 1e-3
            assert change == pytest.approx(exported[label] - auc, abs=1e-6)
