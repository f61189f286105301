"""Runs of one experiment that begin at once, and what a killed run leaves for the next."""

import json
import logging
import os
import shutil

import pytest
from safetensors.torch import load_file

from fuxictr_stem.cli import main
from fuxictr_stem.experiment import run_experiment
from tests.support.processes import at_once, killed_at
from tests.support.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.model |= {"save_predictions": True, "epochs": 3, "learning_rate": 0.05}
    made.write()
    return made


def run(folder, expid="toy_test"):
    """Run an experiment; return its result and the log's lines about the cache."""
    os.chdir(folder)
    logging.getLogger().setLevel(logging.INFO)
    result = run_experiment(folder / "config", expid)
    log = (folder / "checkpoints" / "toy" / f"{expid}.log").read_text()
    return result, log.count("Built the cache")


def metrics(result):
    return json.dumps([result[key] for key in ("valid", "test", "evaluations")])


def left(folder):
    return sorted(path.name for path in (folder / "checkpoints" / "toy" / "toy_test").iterdir())


WHOLE = [
    ".lock",
    "encoder",
    "feature_map.json",
    "model.safetensors",
    "predictions_test.parquet",
    "predictions_valid.parquet",
    "result.json",
    "run.json",
    "sample_rows.parquet",
]


@pytest.mark.slow
def test_eight_runs_of_one_experiment_on_an_empty_cache(project):
    """Early stopping goes back to the best weights, which another run must not have replaced."""
    project.model |= {"epochs": 6, "early_stop_patience": 1, "eval_steps": 3}
    project.write()
    found = at_once(run, [(project.folder,)] * 8)
    assert not [text for text in found if isinstance(text, str)]
    assert len({metrics(result) for result, _ in found}) == 1
    curve = [one["valid"]["AUC"] for one in found[0][0]["evaluations"]]
    assert found[0][0]["valid"]["AUC"] == max(curve) > curve[-1]
    caches = project.folder / "data" / "toy"
    assert len([path for path in caches.iterdir() if path.is_dir()]) == 1
    assert len(list(caches.iterdir())) == 2
    lines = (project.folder / "config.csv").read_text().splitlines()
    assert len(lines) == 8
    assert len({line.partition("[val]")[2] for line in lines}) == 1
    assert left(project.folder) == WHOLE
    folder = project.folder / "checkpoints" / "toy" / "toy_test"
    result = json.loads((folder / "result.json").read_text())
    assert metrics(result) == metrics(found[0][0])
    # The weights that are left are those of the result.
    assert len(load_file(folder / "model.safetensors")) > 5
    os.replace(folder / "model.safetensors", project.folder / "parallel")
    assert main(["run", "--expid", "toy_test", "--config", "config"]) == 0
    alone, together = (
        load_file(path) for path in (folder / "model.safetensors", project.folder / "parallel")
    )
    assert all(alone[name].equal(together[name]) for name in alone)


def test_experiments_at_once_on_one_empty_cache(project):
    names = [f"toy_{i}" for i in range(4)]
    project.experiments = {name: {**project.model, "epochs": 1} for name in names}
    project.write()
    found = at_once(run, [(project.folder, name) for name in names])
    assert not [text for text in found if isinstance(text, str)]
    assert sum(builds for _, builds in found) == 1
    assert len({metrics(result) for result, _ in found}) == 1
    lines = (project.folder / "config.csv").read_text().splitlines()
    assert sorted(line.partition("[exp_id] ")[2].partition(",")[0] for line in lines) == names


def with_cache_only(project):
    """Run the experiment, and keep its cache alone."""
    assert main(["run", "--expid", "toy_test", "--config", "config"]) == 0
    shutil.rmtree(project.folder / "checkpoints")
    (project.folder / "config.csv").unlink()


@pytest.mark.parametrize(
    "place", ["fuxictr_stem.runtime.outputs:os.replace", "fuxictr_stem.runtime.outputs:sync_file"]
)
def test_the_next_run_removes_what_a_killed_one_left(project, place):
    with_cache_only(project)
    killed_at(place, run, project.folder)
    assert [name for name in left(project.folder) if ".tmp-" in name]
    assert not (project.folder / "config.csv").exists()
    (project.folder / "checkpoints" / "toy" / "toy_test" / "notes.txt").write_text("mine")
    assert main(["run", "--expid", "toy_test", "--config", "config"]) == 0
    assert left(project.folder) == sorted([*WHOLE, "notes.txt"])


def test_a_full_disk_at_the_end_is_one_message(project, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    with_cache_only(project)
    monkeypatch.setattr("fuxictr_stem.models.base.save_model", full)
    assert main(["run", "--expid", "toy_test", "--config", "config"]) == 2
    err = capsys.readouterr().err
    assert "model.safetensors cannot be written" in err
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert left(project.folder) == [".lock", "encoder", "feature_map.json"]
