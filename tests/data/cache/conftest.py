"""A small dataset without a cache, and a project with a cache of each kind."""

import pytest

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.cache.open_cache import open_cache
from tests.support.cache_commands import leftover, opened
from tests.support.datasets import SPLITS, label, with_labels, write_dataset
from tests.support.project import Project
from tests.support.small_caches import FEATURES, ROWS


@pytest.fixture
def dataset(tmp_path):
    frames = {split: with_labels(ROWS, ("y", "z")) for split in SPLITS}
    return write_dataset(tmp_path, frames, FEATURES, [label("y"), label("z")], group_id="group")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.write()
    return made


@pytest.fixture
def five(project):
    """A cache of each kind: wanted, old, damaged, unfinished, and of an unknown dataset."""
    project.dataset["min_categr_count"] = 2
    project.write()
    old = opened().folder
    project.dataset["min_categr_count"] = 3
    project.write()
    damaged = opened().folder
    (damaged / "feature_map.json").unlink()
    project.dataset["min_categr_count"] = 1
    project.write()
    whole = opened().folder
    unknown = open_cache(load_experiment("config", "toy_test") | {"dataset_id": "gone"}).folder
    folders = {"old": old, "damaged": damaged, "whole": whole, "unknown": unknown}
    return folders | {"unfinished": leftover(whole.parent)}
