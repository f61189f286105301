"""FuxiCTR's tuner files: trials and settings are FuxiCTR's, data that differ never share a name."""

import sys

import pytest
import yaml
from fuxictr import autotuner

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.tuning.space import grid_of
from fuxictr_stem.tuning.tuner_file import load_tuner

SPACE = {
    "learning_rate": [0.01, 0.001],
    "expert_hidden_units": [[8], [8, 4]],
    "gate_hidden_units": [[4]],
    "min_categr_count": 2,
    "batch_size": 64,
}


def variants(project):
    project.write_configs()
    tuner = load_tuner(project.file)
    points = enumerate(grid_of(tuner.search.space), 1)
    return [tuner.variant(point, f"{number:03d}") for number, point in points]


def inline(project):
    """Put the configs into the tuner file."""
    for name in ("base_config", "dataset_id"):
        project.tuner.pop(name, None)
    project.tuner |= {
        "model_config": {"toy_test": {**project.model, "model_id": "toy_test"}},
        "dataset_config": {"toy": project.dataset},
    }


@pytest.mark.parametrize("form", ["base_config", "inline", "TBD"])
def test_trials_have_fuxictrs_numbers_and_settings(project, form):
    project.tuner["tuner_space"] = SPACE
    if form == "inline":
        inline(project)
    elif form == "TBD":
        project.model["dataset_id"] = "TBD"
        project.tuner["dataset_id"] = "toy"
    ours = variants(project)
    autotuner.enumerate_params(str(project.file))
    folder = project.folder / "toy_tuner"
    theirs = yaml.safe_load((folder / "model_config.yaml").read_text())
    datasets = yaml.safe_load((folder / "dataset_config.yaml").read_text())
    assert len(ours) == len(theirs) == 4
    for variant, (expid, settings) in zip(ours, sorted(theirs.items()), strict=True):
        assert variant.expid[:-8] == expid[:-8]
        assert len(variant.expid) == len(expid)
        dataset = datasets[settings.pop("dataset_id")]
        assert {**variant.experiment, "dataset_id": None} == {**settings, "dataset_id": None}
        assert {**variant.dataset, "dataset_id": None} == {**dataset, "dataset_id": None}
        assert variant.dataset_id.startswith("toy_")


def test_variants_of_the_same_characters_share_nothing(project):
    """FuxiCTR's digest is over sorted characters: 12 and 21 would be one dataset."""
    project.tuner["tuner_space"] = {"min_categr_count": [12, 21], "batch_size": [48, 84]}
    made = variants(project)
    assert len({variant.expid[-8:] for variant in made}) == 4
    assert len({variant.dataset_id for variant in made}) == 2
    autotuner.enumerate_params(str(project.file))
    written = (project.folder / "toy_tuner" / "dataset_config.yaml").read_text()
    assert len(yaml.safe_load(written)) == 1


PROBLEMS = {
    "key": ({"learning_rat": [0.1]}, "tuner_space.learning_rat: is not in the base config (toy"),
    "near key": ({"learning_rat": [0.1]}, "Did you mean 'learning_rate'?"),
    "value": ({"learning_rate": [-1.0]}, "learning_rate: must be"),
    "text": ({"learning_rate": [0.1, "1e-6"]}, "YAML reads 1e-6 as text"),
    "twice": ({"learning_rate": [0.1, 0.1]}, "Name each value once"),
    "none": ({"learning_rate": []}, "has no value to try"),
    "nothing": ({}, "Name a key and its values"),
    "range": ({"learning_rate": {"low": 0.1, "high": 0.2}}, "a grid needs a list of values"),
    "compared": ({"monitor": ["AUC", "logloss"]}, "decides how trials are compared"),
    "place": ({"model_root": ["./a/", "./b/"]}, "changes no result"),
    "data": ({"dataset_id": ["toy"]}, "is set by the tuner"),
    "many": ({"batch_size": list(range(1, 80)), "epochs": list(range(1, 80))}, "gives 6241"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_named_before_anything_runs(project, name):
    project.model["model_root"] = "./checkpoints/"
    project.tuner["tuner_space"], expected = PROBLEMS[name]
    with pytest.raises(ConfigError) as caught:
        variants(project)
    assert expected in str(caught.value)
    assert "toy_tuner.yaml" in str(caught.value)


FILES = {
    "unknown key": ({"tuner_spac": {}}, "Did you mean 'tuner_space'"),
    "sampler": ({"sampler": "tpa"}, "Did you mean 'tpe'"),
    "no number": ({"sampler": "random"}, "trials: must say how many"),
    "number": ({"trials": 3}, "a grid always has as many trials as combinations of values: 2"),
    "experiment": ({"base_expid": "toy_tset"}, "Did you mean 'toy_test'"),
    "objective": ({"objectives": ["like_AUX"]}, "Did you mean 'like_AUC'"),
    "folder": ({"base_config": "./nowhere/"}, "'nowhere' is not there"),
    "ends": (
        {"sampler": "random", "trials": 2, "tuner_space": {"epochs": {"low": 3, "high": 3}}},
        "low must be below high",
    ),
    "log": (
        {
            "sampler": "tpe",
            "trials": 2,
            "tuner_space": {"epochs": {"low": 0, "high": 3, "log": True}},
        },
        "with log, low must be above 0",
    ),
    "end": (
        {"sampler": "random", "trials": 2, "tuner_space": {"epochs": {"low": 0, "high": 3}}},
        "epochs: must be",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_problem_of_the_file_is_named(project, name):
    changes, expected = FILES[name]
    project.tuner |= changes
    with pytest.raises(ConfigError) as caught:
        variants(project)
    assert expected in str(caught.value)


def test_the_name_of_the_file_gives_that_of_the_folder(tmp_path):
    with pytest.raises(ConfigError, match="must end in .yaml"):
        load_tuner(tmp_path / "toy.yml")


def test_a_package_that_is_absent_is_named_before_anything_runs(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    project.tuner |= {"sampler": "tpe", "trials": 2}
    with pytest.raises(ConfigError, match=r"pip install 'fuxictr_stem\[tune\]'"):
        variants(project)
