"""Made-up columns fit the config."""

from fuxictr_stem.analysis.audit import audit
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.training.synthetic_batch import synthetic_batch
from tests.support.small_models import small_model


def test_made_up_columns_fit_the_config():
    columns = {
        "user": {"type": "categorical", "pretrained_emb": "vectors.npz", "pretrain_dim": 64},
        "tags": {"type": "sequence", "max_len": 3, "embedding_dim": 5},
        "age": {"type": "numeric"},
        "vector": {"type": "embedding", "pretrain_dim": 6},
        "group": {"type": "meta"},
        "unused": {"type": "categorical"},
    }
    labels = [{"name": "y0", "parent": "y1"}, {"name": "y1", "parent": "y2"}, {"name": "y2"}]
    params = {
        "dataset_id": "toy",
        "feature_cols": [
            {"name": name, "active": name != "unused", "dtype": "str", **col}
            for name, col in columns.items()
        ],
        "label_col": labels,
        "group_id": "group",
    }
    fmap = synthetic_feature_map(params)
    assert list(fmap.features) == ["user", "tags", "age", "vector", "group"]
    assert fmap.num_fields == 4
    made = synthetic_batch(fmap, labels)
    shapes = {name: tuple(values.shape) for name, values in made.items()}
    assert shapes["tags"] == (256, 3)
    assert shapes["vector"] == (256, 6)
    assert {shapes[name] for name in ("user", "age", "y0", "y1", "y2")} == {(256,)}
    assert (made["y0"] <= made["y1"]).all()
    assert (made["y1"] <= made["y2"]).all()
    assert 0 < made["y0"].mean() < made["y1"].mean() < made["y2"].mean() < 1
    assert audit(small_model("STEMNet", fmap, task_labels=["y0", "y2"]), made) == []
