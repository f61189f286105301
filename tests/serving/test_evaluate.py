"""Metrics of new labelled rows are those of training; slices are those of the rows themselves."""

import json

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

import fuxictr_stem
from fuxictr_stem.cli import main
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.metrics import METRICS, gauc
from fuxictr_stem.serving import rows_to_score
from tests.support.served import result

ALL = [name for name, metric in METRICS.items() if metric.task == "binary_classification"]


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_the_metrics_are_those_of_the_run(finished, tmp_path, monkeypatch, ending, split):
    """Exactly, whatever the blocks: labels, rows without one, groups and means."""
    monkeypatch.setattr(rows_to_score, "BLOCK_ROWS", 70)
    frame, path = finished.frames[split], tmp_path / f"new{ending}"
    frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    arguments = ["evaluate", "--run", str(finished.folder), "--data", str(path), "--out", "m.json"]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "m.json").read_text(), parse_constant=pytest.fail)
    assert content["metrics"] == result(finished, split)
    assert content["rows"] == 200
    assert content["samples"] == {"like": 200, "view": 200 - frame["view"].null_count()}


def test_frames_are_measured_as_files_are(finished, run):
    expected = result(finished)
    assert dict(run.evaluate(finished.test)) == expected
    assert dict(run.evaluate(finished.test.lazy())) == expected
    assert dict(run.evaluate(finished.test.to_pandas())) == expected


def test_any_metric(finished, run):
    evaluation = run.evaluate(finished.test, ALL)
    scores = run.predict(finished.test)
    rows = finished.test["view"].is_not_null().to_numpy()
    y, p = finished.test["view"].to_numpy()[rows], scores["view_pred"].to_numpy()[rows]
    assert evaluation["view_AUC"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert {f"{label}_{name}" for label in ("like", "view") for name in ALL} < evaluation.keys()
    for name in ALL:
        both = evaluation[f"like_{name}"], evaluation[f"view_{name}"]
        assert evaluation[name] == sum(both) / 2


def test_new_groups_stay_apart(finished, run):
    """By raw user, known to the encoder or not; a missing one is a group, too."""
    users = [f"new{i % 7}" if i % 3 else "u1" for i in range(200)]
    frame = finished.test.with_columns(user=pl.Series(users))
    scores = run.predict(frame)
    found = run.evaluate(frame, ["gAUC"])["like_gAUC"]
    assert found == pytest.approx(gauc(frame["like"], scores["like_pred"], users), abs=1e-12)
    frame = frame.with_columns(user=pl.when(pl.col("user") != "new3").then("user"))
    scores = run.predict(frame)
    expected = gauc(frame["like"], scores["like_pred"], frame["user"].fill_null("").to_list())
    assert run.evaluate(frame, "gAUC")["like_gAUC"] == pytest.approx(expected, abs=1e-12)


def test_bad_arguments_and_labels_end_in_one_message(finished, capsys):
    finished.test.write_parquet("new.parquet")
    finished.test.drop("like").write_parquet("unlabelled.parquet")
    finished.test.with_columns(like=pl.lit(2)).write_parquet("two.parquet")
    finished.test.with_columns(like=pl.lit(float("nan"))).write_parquet("nan.parquet")
    finished.test.with_columns(like=pl.lit(None, pl.Int64)).write_parquet("missing.parquet")
    finished.test.drop("user").write_parquet("no_user.parquet")
    cases = [
        ("new.parquet", ["--metrics", "AUCC,prAuc"], ["Did you mean 'AUC'", "'prAUC'"]),
        ("new.parquet", ["--metrics", ","], ["must name at least one of"]),
        ("new.parquet", ["--by", "contry"], ["'country'"]),
        ("unlabelled.parquet", [], ["'like'"]),
        ("two.parquet", [], ["label 'like'", "200 rows", "such as 2"]),
        ("nan.parquet", [], ["label 'like'", "NaN"]),
        ("missing.parquet", [], ["label 'like'", "missing"]),
        ("no_user.parquet", [], ["'user'"]),
        ("new.parquet", ["--out", "nowhere/m.json"], ["there is no folder nowhere"]),
        ("new.parquet", ["--out", "m.parquet"], ["must end with .json"]),
    ]
    for file, more, words in cases:
        capsys.readouterr()
        assert main(["evaluate", "--run", "run", "--data", file, *more]) == 2, file
        said = capsys.readouterr().err
        for word in words:
            assert word in said, (word, said)
        assert said.count("error:") == 1


def test_frames_have_the_same_faults(finished, run):
    with pytest.raises(DataError, match="label 'like'.*200 rows.*such as 2"):
        run.evaluate(finished.test.with_columns(like=pl.lit(2)))
    with pytest.raises(DataError, match="label 'like' is missing in 200 rows"):
        run.evaluate(finished.test.with_columns(like=pl.lit(None, pl.Int64)))
    with pytest.raises(DataError, match="holds List"):
        run.evaluate(finished.test.with_columns(country=pl.lit([1])), by="country")
    with pytest.raises(ConfigError, match="'auc' is none of"):
        run.evaluate(finished.test, ["auc"])


def test_labels_and_samples_are_those_of_training(project):
    """A label that combines two, one with a fill value, one with a parent, and a sample space."""
    frames = project.frames
    for split, frame in frames.items():
        some = pl.int_range(frame.height) % 5 > 0
        frames[split] = frame.with_columns(
            buy=pl.when(some).then(pl.col("like") * pl.col("view")),
            gain=pl.col("age") * 2 + pl.col("like"),
        )
    project.dataset["label_col"] = [
        {"name": "like", "dtype": "float"},
        {"name": "view", "dtype": "float"},
        {"name": "buy", "dtype": "float", "fill_na": 0, "parent": "like"},
        {
            "name": "liked_view",
            "dtype": "float",
            "preprocess": "both(like, view)",
            "parent": "view",
        },
        {"name": "gain", "dtype": "float"},
    ]
    project.model |= {
        "task": ["binary_classification"] * 3 + ["regression"],
        "loss": ["binary_crossentropy"] * 3 + ["mse_loss"],
        "task_labels": ["like", "buy", "liked_view", "gain"],
        "sample_spaces": {"buy": "view"},
        "sample_weight": None,
        "metrics": ["AUC", "gAUC", "logloss", "R2"],
    }
    assert project.run() == 0
    folder = project.folder / "checkpoints" / "toy" / "toy_test"
    expected = json.loads((folder / "result.json").read_text())["test"]
    run = fuxictr_stem.load(folder)
    assert dict(run.evaluate(project.folder / "test.csv")) == expected
    assert dict(run.evaluate(frames["test"])) == expected
    evaluation = run.evaluate(frames["test"], ["R2"], by="view")
    assert evaluation.samples["buy"] == frames["test"]["view"].sum()
    assert evaluation.slices[0].figures["gain_R2"].low < evaluation["gain_R2"]
    wrong = frames["test"].with_columns(buy=pl.lit(1))
    for data in (wrong, "wrong.parquet"):
        wrong.write_parquet("wrong.parquet")
        with pytest.raises(DataError, match="label 'buy' is not 0 where its parent 'like' is 0"):
            run.evaluate(data)
