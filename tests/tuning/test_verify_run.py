"""Runs whose files were edited or damaged: never taken, always told, made again."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.errors import DataError
from fuxictr_stem.tuning.verify_run import read_verified_run
from tests.support.benchmark_project import load, make_project, run, tables

pytestmark = pytest.mark.slow

TEST_ROWS, SEED = 200, 1


def one_model(folder):
    project = make_project(folder)
    changes = {"experiments": "STEMNet_toy", "single_task": None, "slices": None, "search": {}}
    project.benchmark |= {**changes, "seeds": [SEED]}
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose benchmark of one run is done, and that experiment's parameters."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project = one_model(folder)
        assert run(project) == 0
        return folder, load(project).experiments["STEMNet_toy"]


def files_of(folder):
    return next(folder.glob("out/runs/*/toy/*/result.json")).parent


def edited(**changes):
    """Return what changes fields of the result; a callable changes the field's own value."""

    def damage(folder):
        path = folder / "result.json"
        result = json.loads(path.read_text())
        for key, value in changes.items():
            if callable(value):
                value(result[key])
            else:
                result[key] = value
        path.write_text(json.dumps(result))

    return damage


def rewritten(change):
    """Return what changes the table of the predictions."""

    def damage(folder):
        path = folder / "predictions_test.parquet"
        change(pl.read_parquet(path)).write_parquet(path)

    return damage


def content(name, text):
    return lambda folder: (folder / name).write_text(text)


def valued(name, value):
    return rewritten(lambda t: t.with_columns(pl.lit(value, t.schema[name]).alias(name)))


def evaluation(**changes):
    return edited(evaluations=lambda records: records[0].update(changes))


DAMAGES = {
    "no valid": (edited(valid={}), "result.json is not as the run wrote it: valid"),
    "no test": (edited(test={}), "wrote it: test"),
    "both": (edited(valid=[], test=None), "wrote it: valid, test"),
    "text": (edited(test=lambda own: own.update(like_AUC="0.7")), "wrote it: test"),
    "infinite": (edited(valid=lambda own: own.update(AUC=float("inf"))), "wrote it: valid"),
    "huge": (edited(valid=lambda own: own.update(AUC=10**400)), "wrote it: valid"),
    "one metric": (edited(test=lambda own: own.pop("view_gAUC")), "wrote it: test"),
    "seconds": (edited(seconds={}), "wrote it: seconds"),
    "no epochs": (edited(epochs=0), "wrote it: epochs"),
    "true epochs": (edited(epochs=True), "wrote it: epochs"),
    "params": (edited(params=5), "wrote it: params"),
    "half a parameter": (edited(params={"dense": 0.5, "embedding": 3}), "wrote it: params"),
    "speed": (edited(samples_per_second=None), "wrote it: samples_per_second"),
    "memory": (edited(peak_rss_bytes=-1), "wrote it: peak_rss_bytes"),
    "evaluations": (edited(evaluations=5), "wrote it: evaluations"),
    "an evaluation": (edited(evaluations=[5]), "wrote it: evaluations"),
    "its epoch": (evaluation(epoch="1"), "wrote it: evaluations"),
    "its loss": (evaluation(train_loss=None), "wrote it: evaluations"),
    "its metrics": (evaluation(valid=[0.5]), "wrote it: evaluations"),
    "seed": (edited(seed=2), "wrote it: seed"),
    "model": (edited(model="MMoE"), "wrote it: model"),
    "a list": (content("result.json", "[]"), "wrote it: all"),
    "nested": (content("result.json", "[" * 100_000), "result.json cannot be read"),
    "no JSON": (content("result.json", "{"), "result.json cannot be read"),
    "one row": (rewritten(lambda t: t.head(1)), "1 rows, test has 200"),
    "columns": (rewritten(lambda t: t.drop("view_pred")), "view_pred is not 32-bit float"),
    "as text": (rewritten(lambda t: t.cast(pl.String)), "like is not 32-bit float, like_pred is"),
    "no groups": (rewritten(lambda t: t.drop("group")), "group is not of whole numbers"),
    "nulls": (valued("group", None), "group has empty values"),
    "labels": (valued("like", 0.5), "like or like_pred has values that no run writes"),
    "no labels": (valued("like", np.nan), "like or like_pred has values"),
    "predictions": (valued("view_pred", np.inf), "view or view_pred has values"),
    "no table": (content("predictions_test.parquet", "a,b"), "test.parquet cannot be read"),
    "weights": (content("model.safetensors", ""), "model.safetensors cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_told(finished, tmp_path, name):
    damage, said = DAMAGES[name]
    folder, params = finished
    copy = shutil.copytree(files_of(folder), tmp_path / "copy")
    assert read_verified_run(copy, params, SEED, TEST_ROWS)["epochs"] == 1
    damage(copy)
    with pytest.raises(DataError, match=said):
        read_verified_run(copy, params, SEED, TEST_ROWS)


def test_a_file_that_is_not_there_is_told(finished, tmp_path):
    folder, params = finished
    for path in ("result.json", "predictions_test.parquet", "model.safetensors"):
        copy = shutil.copytree(files_of(folder), tmp_path / path)
        (copy / path).unlink()
        with pytest.raises(DataError, match=f"{path} cannot be read"):
            read_verified_run(copy, params, SEED, TEST_ROWS)


@pytest.mark.parametrize("name", ["no test", "params", "one row", "as text"])
def test_a_damaged_run_is_made_again(finished, monkeypatch, capfd, name):
    damage, said = DAMAGES[name]
    folder, _ = finished
    monkeypatch.chdir(folder)
    first = tables()
    damage(files_of(folder))
    assert run(one_model(folder)) == 0
    assert tables() == first
    error = capfd.readouterr().err
    assert said in error
    assert error.count("The run is repeated.") == 1


def test_a_run_that_leaves_no_whole_record_has_failed(tmp_path, monkeypatch, capfd):
    def refuse(*_):
        raise DataError("result.json is not whole.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fuxictr_stem.benchmark.run.plan.read_verified_run", refuse)
    assert run(one_model(tmp_path)) == 2
    error = capfd.readouterr().err
    assert "No run succeeded" in error
    assert "STEMNet_toy, seed 1: result.json is not whole." in error
    assert Path("out/runs").exists()
