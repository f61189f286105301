"""What each column is taken for, and what the caller says of it."""

import numpy as np
import pandas as pd
import pytest

from fuxictr_stem.errors import ConfigError, DataError
from tests.support.fitted import configs, message


def test_what_is_guessed_and_what_is_said_is_in_the_configs(fit, frames, caplog):
    for frame in frames.values():
        frame["user"] -= 7
    features = {
        "user": None,
        "age": {"normalizer": "MinMaxScaler"},
        "tags": {"max_len": 2},
        "vip": "numeric",
    }
    folder = fit(features=features, group_id="user", learning_rate=np.float64(0.01), expid="mine")
    experiments, datasets = configs(folder)
    assert experiments["mine"]["learning_rate"] == 0.01
    assert experiments["mine"]["metrics"] == ["AUC", "logloss", "gAUC"]
    columns = {col["name"]: col for col in datasets["shop"]["feature_cols"]}
    assert list(columns) == list(features)
    assert columns["user"]["fill_na"] == frames["train"]["user"].min() - 1 == -8
    assert columns["age"]["normalizer"] == "MinMaxScaler"
    assert columns["age"]["fill_na"] == pytest.approx(frames["train"]["age"].mean())
    assert columns["tags"]["max_len"] == 2
    assert columns["vip"]["type"] == "numeric"
    labels = {col["name"]: col for col in datasets["shop"]["label_col"]}
    assert "missing" not in labels["click"]
    assert np.isnan(labels["like"]["missing"])
    gaps = sum(int(frame["like"].isna().sum()) for frame in frames.values())
    text = (folder.parents[2] / "config" / "dataset_config.yaml").read_text()
    assert f"{gaps} rows have no such label" in text
    assert f"label like: {gaps} rows have no such label" in caplog.text


def test_columns_that_cannot_be_guessed(fit, frames):
    for frame in frames.values():
        frame["time"] = pd.Timestamp("2026-11-28")
        frame["nothing"] = None
        frame["vector"] = [[0.5, 1.5]] * len(frame)
        frame["bytes"] = b"x"
    text = message(ConfigError, fit, epochs=0)
    for name in ("time", "nothing", "bytes"):
        assert f"ignore=['{name}']" in text
    assert "features['vector']: holds lists of Float64" in text
    assert "'type': 'embedding'" in text
    assert "epochs: must be" in text
    for frame in frames.values():
        frame["mixed"] = [1, "a"] * (len(frame) // 2)
    text = message(DataError, fit)
    assert "train: these rows cannot be read: column 'mixed' (object) mixes kinds of values" in text
