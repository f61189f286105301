"""What users of FuxiCTR bring along: its tuner, old names, options that mean something else here."""

import numpy as np
import pytest
import torch

from fuxictr_stem import registry
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.models.features import TaskEmbedding
from tests.support.config_files import Net, column, load, problems
from tests.support.small_models import categorical, feature_map


@pytest.fixture(autouse=True)
def net(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


OLD_EXPERIMENT_KEYS = {
    "patience": (2, "Write early_stop_patience."),
    "workers": (3, "Write num_workers."),
    "debug": (False, "Write debug_mode."),
    "ordered_features": (None, "Write use_features."),
    "every_x_epochs": (1, "Write eval_steps, which counts steps"),
    "use_hdf5": (True, "Leave it out: the cache is reused"),
    "partition_block_size": (-1, "Leave it out: a split is one file here"),
    "streaming": (True, "Leave it out: a split is one file here"),
}


@pytest.mark.parametrize("key", OLD_EXPERIMENT_KEYS)
def test_an_old_key_of_an_experiment_is_told_what_to_write(tmp_path, key):
    value, hint = OLD_EXPERIMENT_KEYS[key]
    for place in ({"experiment": {key: value}}, {"base": {key: value}}):
        (line,) = problems(tmp_path, **place)
        assert f".{key}: is " in line
        assert hint in line


@pytest.mark.parametrize(
    ("changes", "key", "hint"),
    [
        (column(na_value=""), "na_value", "Write fill_na."),
        (column(encoder="null"), "encoder", "Write feature_encoder."),
        ({"data_block_size": 1000}, "data_block_size", "streamed by itself"),
        ({"streaming": True}, "streaming", "streamed by itself"),
        ({"rebuild_dataset": False}, "rebuild_dataset", "Name the files that they were made from"),
        ({"data_format": "npz"}, "data_format", "write the arrays as parquet"),
        ({"data_format": "tfrecord"}, "data_format", "write the arrays as parquet"),
        ({"data_format": "h5"}, "data_format", "write the arrays as parquet"),
    ],
)
def test_what_a_dataset_cannot_say_comes_with_what_to_do_instead(tmp_path, changes, key, hint):
    (line,) = problems(tmp_path, dataset=changes)
    assert f".{key}: " in line
    assert hint in line


def test_debug_mode_says_that_it_does_nothing(tmp_path, caplog):
    load(tmp_path, {"debug_mode": True})
    assert "debug_mode: True has no effect" in caplog.text
    caplog.clear()
    load(tmp_path, {"debug_mode": False})
    load(tmp_path)
    assert "debug_mode" not in caplog.text


@pytest.mark.parametrize("id_", ["tiny", "other"])
def test_the_name_of_its_entry_is_the_id_of_a_dataset(tmp_path, id_):
    """FuxiCTR's tuner writes the id of the dataset that it varies into each variant."""
    assert load(tmp_path, dataset={"dataset_id": id_})["dataset_id"] == "toy"
    (line,) = problems(tmp_path, dataset={"dataset_id": 3})
    assert "toy.dataset_id: must be " in line


@pytest.mark.parametrize("own", [None, 5])
def test_pretrained_vectors_are_as_wide_as_the_embedding_by_default(tmp_path, own):
    """FuxiCTR: ``feature_spec.get("pretrain_dim", feat_dim)``."""
    width, keys = own or 4, ["a", "b"]
    np.savez(tmp_path / "v.npz", key=keys, value=np.arange(2.0 * width).reshape(2, width))
    col = {"pretrained_emb": str(tmp_path / "v.npz")} | ({"embedding_dim": own} if own else {})
    (x,) = (c for c in load(tmp_path, dataset=column(**col))["feature_cols"] if c["name"] == "x")
    assert "pretrain_dim" not in x
    (tmp_path / "feature_vocab.json").write_text(
        '{"p": {"__PAD__": 0, "a": 1, "b": 2, "__OOV__": 3}}'
    )
    spec = categorical(4, pretrained_emb="v.npz", freeze_emb=False, oov_idx=3)
    spec |= {"pretrain_usage": "init"} | ({"embedding_dim": own} if own else {})
    embedding = TaskEmbedding(feature_map({"p": spec}, data_dir=tmp_path), 4, 1)
    found = embedding({"p": torch.tensor([1, 2])})[0].detach().numpy()
    np.testing.assert_array_equal(found, np.arange(2.0 * width).reshape(2, width))
    with pytest.raises(ConfigError, match=r"is \d, the embedding_dim, .* length"):
        TaskEmbedding(feature_map({"p": {**spec, "embedding_dim": 7}}, data_dir=tmp_path), 4, 1)
