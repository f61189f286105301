"""Training from Python: the same run as by its experiment id, and a process that is as it was before."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.errors import ConfigError, DataError, OutputError
from tests.support.fitted import LABELS, SMALL, configs, message, result_of
from tests.support.shop import shop_rows

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("group_id", [None, "user"])
def test_the_configs_are_the_same_run_to_the_last_digit(fit, tmp_path, monkeypatch, group_id):
    folder = fit(group_id=group_id)
    assert folder == tmp_path / "shop" / "checkpoints" / "shop" / "STEMNet_shop"
    first, weights = result_of(folder), (folder / "model.safetensors").read_bytes()
    assert {"click_AUC", "like_AUC"} <= first["test"].keys()
    assert ("click_gAUC" in first["test"]) == (group_id is not None)
    shutil.rmtree(folder)
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--config", str(tmp_path / "shop" / "config"), "--expid", "STEMNet_shop"]
    assert main(arguments) == 0
    assert result_of(folder) == first
    assert (folder / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_another_process_makes_the_same_run(fit, tmp_path):
    folder = fit()
    first = result_of(folder)
    shutil.rmtree(folder)
    command = [sys.executable, str(ROOT / "run_expid.py")]
    command += ["--config", str(tmp_path / "shop" / "config"), "--expid", "STEMNet_shop"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert result_of(folder) == first


def test_pandas_polars_and_files_are_the_same_run(fit, frames, tmp_path):
    first = result_of(fit())
    in_polars = {split: pl.from_pandas(frame) for split, frame in frames.items()}
    assert result_of(fit(**in_polars, resume=True)) == first
    lazy = {split: frame.lazy() for split, frame in in_polars.items()}
    assert result_of(fit(**lazy, resume=True)) == first
    for split, frame in in_polars.items():
        frame.write_parquet(tmp_path / f"{split}.parquet")
    paths = {split: tmp_path / f"{split}.parquet" for split in frames}
    of_files = fit(**paths, out=tmp_path / "files" / "shop")
    assert not (tmp_path / "files" / "shop" / "data").exists()
    figures = {key: first[key] for key in ("valid", "test", "params", "evaluations")}
    assert {key: result_of(of_files)[key] for key in figures} == figures


def test_the_run_scores_and_measures_frames(frames, tmp_path, root_logging):
    train, valid, test = frames.values()
    out = tmp_path / "shop"
    run = fuxictr_stem.fit(train, valid, LABELS, test=test, out=out, group_id="user", **SMALL)
    assert run.folder == out / "checkpoints" / "shop" / "STEMNet_shop"
    assert dict(run.evaluate(test)) == pytest.approx(result_of(run.folder)["test"], abs=1e-12)
    # A user that train lacks, gaps, and whole numbers that pandas keeps as floats because of one.
    rows = test.drop(columns=LABELS).astype({"user": float, "vip": object})
    rows.loc[0, "user"], rows.loc[1, "user"], rows.loc[2, "vip"] = np.nan, 777, None
    rows.loc[3, ["item", "age"]] = None
    scores = run.predict(rows, keep=["item"])
    assert list(scores) == ["item", "click_pred", "like_pred"]
    whole = run.predict(test)
    assert scores["click_pred"][4:].equals(whole["click_pred"][4:])
    assert scores["click_pred"].between(0, 1).all()
    in_polars = run.predict(pl.from_pandas(rows))
    assert in_polars["like_pred"].to_list() == scores["like_pred"].to_list()
    assert fuxictr_stem.load(run.folder).predict(test).equals(whole)


def test_csv_files_are_read_as_text(fit, tmp_path):
    for seed, split in enumerate(("train", "valid", "test")):
        rows = shop_rows(300, seed).drop(columns="tags").replace({"click": {True: 1, False: 0}})
        rows.to_csv(tmp_path / f"{split}.tsv", sep="|", index=False)
    paths = {split: tmp_path / f"{split}.tsv" for split in ("train", "valid", "test")}
    folder = fit(**paths, sep="|", min_categr_count=2)
    dataset = configs(folder)[1]["shop"]
    assert (dataset["sep"], dataset["min_categr_count"]) == ("|", 2)
    kinds = {col["name"]: (col["type"], col["dtype"]) for col in dataset["feature_cols"]}
    assert kinds["user"] == kinds["vip"] == ("categorical", "str")
    assert kinds["age"] == ("numeric", "float")
    assert result_of(folder)["test"]["AUC"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in fuxictr_stem.list_models() if m != "ESMM"])
def test_every_model_trains(fit, model):
    more = {"auxiliary_labels": ["like"]} if model == "STEMAL" else {}
    assert result_of(fit(model=model, **more))["model"] == model


def test_nested_labels(fit, frames):
    for frame in frames.values():
        frame["buy"] = frame["click"] & (frame["like"] == 1)
    labels = {"click": {}, "buy": {"parent": "click"}}
    roles = {"click_label": "click", "conversion_label": "buy"}
    folder = fit(model="ESMM", labels=labels, ignore="like", **roles)
    assert {"click_AUC", "buy_AUC"} <= result_of(folder)["test"].keys()
    assert configs(folder)[1]["shop"]["label_col"][1]["parent"] == "click"


def test_regression(fit, frames):
    for frame in frames.values():
        frame["price"] = frame["user"] + 0.5
    folder = fit(
        labels=["click", "price"], ignore="like", task=["binary_classification", "regression"]
    )
    assert {"click_AUC", "price_MSE", "price_R2"} <= result_of(folder)["test"].keys()


def test_faulty_rows_are_named_by_split_and_row(fit, frames, tmp_path):
    frames["valid"]["click"] = frames["valid"]["click"].astype(int)
    frames["valid"].loc[7, "click"] = 3
    text = message(DataError, fit)
    assert "1 row of valid with a value other than 0 and 1, such as 3" in text
    frames["valid"].loc[7, "click"] = 1
    frames["test"].loc[4, "age"] = np.inf
    text = message(DataError, fit)
    assert "first in test, row 5" in text
    assert str(tmp_path) not in text
    frames["test"] = frames["test"].iloc[:0]
    assert "test has no rows" in message(DataError, fit)
    frames["train"] = frames["train"].iloc[:0]
    assert "train: has no rows" in message(ConfigError, fit)


def test_a_run_starts_from_another_ones_weights(fit, frames, tmp_path, monkeypatch):
    source = fit(out=tmp_path / "first")
    tomorrow = {split: frame.assign(user=frame["user"] + 1) for split, frame in frames.items()}
    arguments = {**tomorrow, "init_from": source, "expid": "second", "learning_rate": 0.002}
    folder = fit(**arguments)
    second, weights = result_of(folder), (folder / "model.safetensors").read_bytes()
    assert second["init_from"]["folder"] == str(source)
    assert second["init_from"]["tokens"]["user"] == {
        "tokens": 20, "matched": 19, "new": 1, "gone": 1
    }  # fmt: skip
    # A finished run needs it no more, and one that does not start there is another one.
    source.rename(tmp_path / "elsewhere")
    assert result_of(fit(**arguments, resume=True)) == second
    (tmp_path / "elsewhere").rename(source)
    other = {**arguments, "init_from": None}
    assert "init_from: " in message(ConfigError, fit, **other, resume=True)
    # What does not fit is one message, and nothing is lost.
    text = message(
        ConfigError, fit, **{**arguments, "ignore": "age", "embedding_dim": 8}, overwrite=True
    )
    for part in (
        f"init_from {source} does not fit this experiment",
        "only it has the fields age",
        "field 'user': embedding_dim 4 there, 8 here.",
    ):
        assert part in text
    assert "--" not in text
    assert "there is no such folder" in message(
        ConfigError, fit, **{**arguments, "init_from": "nowhere"}, overwrite=True
    )
    assert "init_from: must be the path of a folder, found 3." in message(
        ConfigError, fit, init_from=3
    )
    own = message(ConfigError, fit, **{**arguments, "init_from": folder}, overwrite=True)
    assert "is the folder that this run writes to" in own
    assert (result_of(folder), configs(folder)[0]["second"]["embedding_dim"]) == (second, 4)
    # The command in the configs is the same run.
    shutil.rmtree(folder)
    monkeypatch.chdir(tmp_path)
    config = (tmp_path / "shop" / "config" / "model_config.yaml").read_text()
    command = config.split("python -m fuxictr_stem ")[1].splitlines()[0]
    assert main(shlex.split(command)) == 0
    assert result_of(folder) == second
    assert (folder / "model.safetensors").read_bytes() == weights


def test_two_calls_do_not_write_one_folder(fit, tmp_path):
    (tmp_path / "shop").mkdir()
    with FileLock(tmp_path / "shop" / ".lock"):
        assert "another call of fit is writing there" in message(OutputError, fit)


def test_odd_names_and_frames_are_one_message(fit, frames):
    twice = frames["train"].rename(columns={"age": "user"})
    assert "train: names of columns: 'user' appears twice" in message(DataError, fit, train=twice)
    odd = frames["train"].rename(columns={"age": 3, "tags": "^t.*$"})
    text = message(DataError, fit, train=odd)
    assert "3 is not text; '^t.*$' would be read as a pattern by polars" in text
    lazy = {split: pl.from_pandas(frame).lazy() for split, frame in frames.items()}
    lazy["valid"] = lazy["valid"].select("nothing")
    assert "valid: the lazy frame fails" in message(DataError, fit, **lazy)


def test_files_that_are_absent_or_damaged_are_one_message(fit, frames, tmp_path):
    for split in ("train", "valid"):
        frames[split].drop(columns="tags").to_csv(tmp_path / f"{split}.csv", index=False, sep=";")
    paths = {split: tmp_path / f"{split}.csv" for split in ("train", "valid")}
    text = message(ConfigError, fit, **paths, test=None)
    assert "Is it several columns, separated by sep=';'?" in text
    paths = {split: tmp_path / f"{split}.parquet" for split in frames}
    for split, path in paths.items():
        pl.from_pandas(frames[split]).write_parquet(path)
    text = message(DataError, fit, **{**paths, "test": tmp_path / "tets.parquet"})
    assert f"test: '{tmp_path / 'tets.parquet'}' does not exist" in text
    assert "Did you mean 'test.parquet'" in text
    paths["valid"].write_bytes(paths["valid"].read_bytes()[:-50])
    assert "cannot be read" in message(DataError, fit, **paths)
    csv = tmp_path / "valid.csv"
    csv.write_text("user,click\n1,0\n")
    assert "must be of one format" in message(DataError, fit, **{**paths, "valid": csv})
