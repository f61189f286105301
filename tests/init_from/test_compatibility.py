"""A run whose weights do not fit an experiment is rejected before any data are read."""

import shutil
from pathlib import Path

import pytest

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.experiment import run_experiment


def rejection(project):
    project.write()
    with pytest.raises(ConfigError) as caught:
        run_experiment(Path("config"), "day2", init_from=Path("checkpoints/day1/day1"))
    return str(caught.value)


def test_what_does_not_fit_is_one_message_before_any_data_are_read(days):
    project = days(epochs=1)
    assert project.train("day1") == 0
    project.changes["day2"] = {"embedding_dim": 8, "tower_hidden_units": [6, 5]}
    project.datasets["day2"] = {
        "feature_cols": [
            {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
            {"name": "city", "active": True, "dtype": "str", "type": "categorical"},
        ]
    }
    said = rejection(project)
    for part in (
        "--init-from checkpoints/day1/day1 does not fit this experiment",
        "only it has the fields age",
        "only this has the fields city",
        "field 'user': embedding_dim 4 there, 8 here.",
        "towers.layers.0.weight of 'like': 1x4x8 there, 1x6x8 here",
        "towers.layers.4.weight of 'like': none there, 1x1x5 here",
        "tower_hidden_units [4] there, [6, 5] here",
    ):
        assert part in said, said
    assert not (project.folder / "data" / "day2").exists()
    project.changes["day2"] = {
        "task": ["binary_classification", "regression"],
        "loss": ["binary_crossentropy", "mse_loss"],
        "metrics": ["logloss", "MSE"],
        "monitor": "logloss",
        "monitor_mode": "min",
    }
    assert "task 'view' is binary_classification there, regression here." in rejection(project)
    project.changes["day2"] = {"task_labels": ["view"], "model": "PLE"}
    assert "its model is STEMNet, this one's PLE" in rejection(project)


def test_other_activations_are_a_warning(days, capfd):
    project = days(epochs=1)
    assert project.train("day1") == 0
    project.changes["day2"] = {"hidden_activations": "tanh"}
    assert project.train("day2", "--init-from", "checkpoints/day1/day1") == 0
    assert "settings of the model differ: hidden_activations 'ReLU' there, 'tanh' here." in (
        capfd.readouterr().err
    )


def test_fields_in_another_order_are_rejected(days):
    project = days(epochs=1)
    assert project.train("day1") == 0
    project.changes["day2"] = {"use_features": ["item", "user", "age"]}
    assert "the order of the fields is user, item, age there, item, user, age here" in rejection(
        project
    )


def test_a_folder_that_is_no_source_is_rejected(days):
    project = days(epochs=1)
    assert "there is no such folder" in rejection(project)
    home = project.folder_of("day1")
    home.mkdir(parents=True)
    assert "it has no result.json" in rejection(project)
    assert project.train("day1") == 0
    shutil.move(home / "encoder", home / "kept")
    assert "encoder" in rejection(project)
    shutil.move(home / "kept", home / "encoder")
    path = home / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "model.safetensors is not what was written" in rejection(project)
    with pytest.raises(ConfigError, match="is the folder that this run writes to"):
        run_experiment(Path("config"), "day1", init_from=home)


def test_a_folder_without_run_json_is_of_an_older_version(days):
    project = days(epochs=1)
    assert project.train("day1") == 0
    (project.folder_of("day1") / "run.json").unlink()
    assert "has no run.json" in rejection(project)
