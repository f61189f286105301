"""Which changes of a config make a finished run run again: those that change its numbers, no others."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fuxictr_stem.config import schema
from fuxictr_stem.config.result_settings import NO_SETTINGS
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from tests.support.benchmark_project import load, make_plan, make_project, run

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make_project(tmp_path)
    # One experiment is read much faster than four with all their trials.
    made.benchmark |= {"experiments": "STEMNet_toy", "single_task": None}
    made.benchmark |= {"search": {}, "slices": None}
    return made


NEW = schema.parameter(bool, "what a later version can do", False)


def key_of(project):
    plan = make_plan(load(project), {"torch": "1"})
    return plan.spec("STEMNet_toy", 1, {"learning_rate": 0.1}).key


# Of the keys that change no number, those that an experiment or a dataset can name.
EXPERIMENT = {
    "build_together": True,
    "debug_mode": False,
    "file_locks": False,
    "memory_budget": 10**9,
    "model_root": "./elsewhere/",
    "num_workers": 8,
    "pickle_feature_encoder": False,
    "prediction_columns": ["item"],
    "save_predictions": True,
    "state_minutes": 1.0,
    "state_steps": 7,
    "states_kept": 5,
    "tracker": "tensorboard",
    "tracker_group": "toys",
    "tracker_steps": 7,
    "verbose": 2,
}
DATASET = {
    "data_root": "./elsewhere/",
    "prepare": {"preparer": "kuairand", "raw_dir": "./raw/"},
    "source": {"name": "Toys", "rows": {"train": 600}},
    "test_data": "./moved/test.csv",
    "train_data": "./moved/train.csv",
    "valid_data": "./moved/valid.csv",
}


def test_every_key_that_changes_no_number_is_tried_here():
    assert {*EXPERIMENT, *DATASET, "gpu"} == set(NO_SETTINGS)


@pytest.mark.parametrize("key", [*EXPERIMENT, *DATASET])
def test_a_key_that_changes_no_number_makes_nothing_run_again(project, key):
    before = key_of(project)
    if key in EXPERIMENT:
        project.experiments["STEMNet_toy"][key] = EXPERIMENT[key]
    else:
        project.dataset[key] = DATASET[key]
    assert key_of(project) == before


@pytest.mark.parametrize("key", ["num_workers", "prediction_columns", "state_minutes", "verbose"])
def test_nor_does_it_under_the_benchmarks_settings(project, key):
    before = key_of(project)
    project.benchmark["settings"] = {**project.benchmark["settings"], key: EXPERIMENT[key]}
    assert key_of(project) == before


def test_pretrained_vectors_may_move(project):
    project.write()
    for name in ("a", "b"):
        Path(name).mkdir()
        np.savez(Path(name) / "vectors.npz", key=["u1"], value=np.ones((1, 4), "float32"))
    column = {"name": "user", "active": True, "dtype": "str", "type": "categorical"}
    keys = []
    for path in ("./a/vectors.npz", "./b/vectors.npz", None):
        given = {} if path is None else {"pretrained_emb": path, "pretrain_dim": 4}
        project.dataset["feature_cols"] = [{**column, **given}]
        keys.append(key_of(project))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("early_stop_patience", 2),
        ("optimizer", "adam"),
        ("loss_weight", "EQ"),
        ("use_features", None),
        # Those of the model's constructor, and of the one behind it.
        ("gate_input", "task_plus_shared"),
        ("num_specific_experts", 1),
        ("hidden_activations", "ReLU"),
    ],
)
def test_to_write_a_default_down_makes_nothing_run_again(project, key, default):
    before = key_of(project)
    project.experiments["STEMNet_toy"][key] = default
    assert key_of(project) == before


def test_an_empty_value_is_no_default(project):
    """No tower is another network than the default towers."""
    del project.experiments["STEMNet_toy"]["tower_hidden_units"]
    before = key_of(project)
    project.experiments["STEMNet_toy"]["tower_hidden_units"] = []
    assert key_of(project) != before


@pytest.mark.parametrize("table", ["Experiment", "Dataset", "Feature", "Label"])
def test_runs_stay_valid_when_a_later_version_adds_a_key(project, monkeypatch, table):
    before = key_of(project)
    monkeypatch.setitem(getattr(schema, table).model_fields, "brand_new", NEW)
    assert key_of(project) == before
    place = {
        "Experiment": project.experiments["STEMNet_toy"],
        "Dataset": project.dataset,
        "Feature": project.dataset["feature_cols"][1],
        "Label": project.dataset["label_col"][0],
    }[table]
    place["brand_new"] = True
    assert key_of(project) != before


@pytest.mark.parametrize(
    ("table", "columns"), [("Feature", "feature_cols"), ("Label", "label_col")]
)
def test_nor_does_a_new_key_of_columns_make_the_data_others(project, monkeypatch, table, columns):
    project.write()
    params = load(project).experiments["STEMNet_toy"]
    before = fingerprint(params, find_files(params))
    monkeypatch.setitem(getattr(schema, table).model_fields, "brand_new", NEW)
    params = load(project).experiments["STEMNet_toy"]
    column = next(c for c in params[columns] if c["name"] in ("item", "like"))
    assert column["brand_new"] is False
    assert fingerprint(params, find_files(params)) == before
    column["brand_new"] = True
    assert fingerprint(params, find_files(params)) != before


def test_an_encoder_that_is_null_is_no_default_one(project):
    """FuxiCTR pools a sequence without a word; null leaves it as it is."""
    before = key_of(project)
    project.dataset["feature_cols"][0]["feature_encoder"] = None
    assert key_of(project) != before


def test_a_second_start_with_other_paths_and_nothing_to_show_trains_nothing(project, no_pictures):
    project.benchmark |= {"seeds": [1], "settings": {"epochs": 1}}
    project.benchmark |= {"experiments": "SharedBottom_toy", "proposed": []}
    assert run(project) == 0
    stamps = {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")}
    Path("moved").mkdir()
    for split in ("train", "valid", "test"):
        shutil.copy(f"{split}.csv", f"moved/{split}.csv")
    project.dataset |= {**DATASET}
    del project.dataset["prepare"]
    shown = {"verbose": 2, "state_minutes": 1.0, "num_workers": 0}
    project.benchmark["settings"] = {"epochs": 1, **shown}
    assert run(project) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("out/runs").rglob("*")} == stamps
