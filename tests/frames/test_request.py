"""What is wrong with a call is one message in its own words."""

import numpy as np
import pandas as pd
import pytest

from fuxictr_stem.errors import ConfigError
from tests.support.fitted import configs, message, result_of


def test_settings_that_nobody_knows_come_in_one_message(fit, tmp_path):
    text = message(
        ConfigError,
        fit,
        learning_rat=0.1,
        epochs=0,
        batch_size="64",
        features={"age": {"fillna": 1}, "item": "categorical"},
    )
    for part in (
        "fuxictr_stem.fit: 4 problems",
        "learning_rat: is not a known key. Did you mean 'learning_rate'",
        "epochs: must be a whole number >= 1, found 0.",
        "batch_size: must be a whole number >= 1, found '64'.",
        "features['age'], fillna: is not a known key. Did you mean 'fill_na'",
    ):
        assert part in text
    assert ".yaml" not in text
    assert not (tmp_path / "shop" / "config").exists()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"labels": ["klick"]}, ["train, valid, test: there is no column 'klick'", "'click'"]),
        ({"labels": []}, ["labels: must name at least one column."]),
        ({"labels": ["item", "click"]}, ["labels['item']: holds String, and a label is a number"]),
        ({"features": ["itm"]}, ["there is no column 'itm'. Did you mean 'item'?"]),
        ({"features": {"age": "numerical"}}, ["features['age']: must be one of", "'numeric'"]),
        ({"features": ["age", "click"]}, ["features['click']: 'click' is a label, too"]),
        ({"features": [3]}, ["features: the names of columns are text, found 3."]),
        ({"ignore": ["usr"]}, ["ignore: train: there is no column 'usr'. Did you mean 'user'?"]),
        ({"ignore": "age", "features": ["age"]}, ["ignore: is for features=None"]),
        ({"group_id": "age"}, ["group_id: the column 'age' holds Float64. Make it text or whole"]),
        ({"model": "STEMNet2"}, ["there is no model 'STEMNet2'. Did you mean 'STEMNet'"]),
        ({"out": 3}, ["out: must be the path of a folder, found 3."]),
        (
            {"gpu": None},
            ["gpu: must be the number of a CUDA device, or -1 for the CPU, found None."],
        ),
        ({"labels": None}, ["labels: must be names of columns, found None."]),
        ({"expid": "../up"}, ["expid must be letters"]),
        ({"task_labels": ["click"]}, ["task_labels: is decided by the argument labels"]),
        ({"data_root": "x"}, ["data_root: is decided by the argument out"]),
        ({"valid": "valid.csv"}, ["valid: a path, but others are data frames"]),
        ({"train": [1, 2]}, ["train: must be a pandas or polars data frame, or a path", "list"]),
        ({"gpu": 77}, ["gpu 77: this machine", "Leave gpu out"]),
        ({"test": pd.DataFrame({"user": [1]})}, ["test: there is no column 'item'"]),
        ({"net_dropout": object()}, ["net_dropout: must be a plain value, found a object"]),
        ({"monitor": "buy_AUC"}, ["monitor: 'buy_AUC' is not produced"]),
        ({"sample_weight": "weight"}, ["there is no column 'weight'"]),
    ],
)
def test_mistakes_are_one_short_message(fit, changes, parts):
    text = message(ConfigError, fit, **changes)
    for part in parts:
        assert part in text
    assert ".yaml" not in text


def test_a_weight_is_no_task_and_no_feature(fit, frames):
    for frame in frames.values():
        frame["weight"] = np.linspace(0.5, 2, len(frame))
    folder = fit(sample_weight="weight")
    assert not any(key.startswith("weight") for key in result_of(folder)["test"])
    dataset = configs(folder)[1]["shop"]
    assert [col["name"] for col in dataset["label_col"]] == ["click", "like", "weight"]
    assert "weight" not in [col["name"] for col in dataset["feature_cols"]]
