"""Raw group keys and chosen columns next to saved predictions."""

import csv
import re
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.data.source.raw_columns import find_raw_columns
from fuxictr_stem.errors import ConfigError, DataError
from tests.support.datasets import feature, with_labels, write_dataset
from tests.support.project import result_of

USERS = ["u2", None, "ü,1", "u2", 'say "a"', ""]
FRAME = with_labels(
    {"user": USERS, "n": [7, None, -3, 2**53 + 1, 0, 5], "video": [f"v{i}" for i in range(6)]}
)


def read(found, split="valid", **more):
    return pl.concat(found.blocks(split, **more)).to_dict(as_series=False)


def dataset_of(folder, features, data_format="csv", frames=None, **more):
    frames = frames or {"train": FRAME, "valid": FRAME}
    return write_dataset(folder, frames, features, data_format=data_format, **more)


@pytest.mark.parametrize("remapped", [True, False])
@pytest.mark.parametrize("block_rows", [1, 4, 1000])
def test_csv_columns_are_what_pythons_reader_finds(tmp_path, remapped, block_rows):
    meta = feature("user", "meta")
    if not remapped:
        meta = feature("n", "meta", "int", remap=False)
    dataset = dataset_of(tmp_path, [feature("n", dtype="int"), meta], group_id=meta["name"])
    if not remapped:
        dataset["feature_cols"] = [meta]
    found = find_raw_columns(dataset, ["video", "n"], "group_key", tmp_path)
    with open(dataset["valid_data"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [int(row["n"]) if row["n"] else None for row in rows]
    # A quoted empty field is text, an empty one is missing; Python's reader does not tell them apart.
    users = [row["user"] or None for row in rows]
    columns = read(found, block_rows=block_rows)
    columns["group_key"] = [None if value == "" else value for value in columns["group_key"]]
    assert columns == {
        "group_key": users if remapped else numbers,
        "video": [row["video"] for row in rows],
        "n": numbers,
    }


def test_parquet_columns_keep_their_types(tmp_path):
    rows = {
        "user": pl.Series(["a", None, "c"], dtype=pl.Categorical),
        "tags": [["x", "y"], [], None],
        "time": pl.Series([1, 2, 3]).cast(pl.Datetime("us")),
        "y": [0.0, 1.0, 1.0],
    }
    frame = pl.DataFrame(rows)
    other = frame.with_columns(user=pl.Series(["zz", "c", "a"], dtype=pl.Categorical))
    dataset = dataset_of(
        tmp_path, [feature("user")], "parquet", {"train": frame, "valid": frame, "test": other}
    )
    dataset["valid_data"] = str(tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    frame.write_parquet(tmp_path / "parts" / "a.parquet")
    other.write_parquet(tmp_path / "parts" / "b.parquet")
    dataset["group_id"] = "g"
    dataset["feature_cols"].append(feature("g", "meta", preprocess="copy_from(user)"))
    found = find_raw_columns(dataset, ["tags", "time"], "group_key", tmp_path)
    tables = [pq.read_table(p).to_pylist() for p in sorted((tmp_path / "parts").iterdir())]
    expected = [row for table in tables for row in table]
    assert read(found) == {
        "group_key": [row["user"] for row in expected],
        "tags": [row["tags"] for row in expected],
        "time": [row["time"] for row in expected],
    }
    assert read(found, "test")["group_key"] == ["zz", "c", "a"]


def test_files_of_other_integer_types_are_joined(tmp_path):
    frames = [FRAME.with_columns(k=pl.lit(i).cast(t)) for i, t in ((3, pl.Int8), (2**40, pl.Int64))]
    dataset = dataset_of(tmp_path, [feature("user")], "parquet")
    dataset["valid_data"] = str(tmp_path / "parts")
    (tmp_path / "parts").mkdir()
    for i, frame in enumerate(frames):
        frame.write_parquet(tmp_path / "parts" / f"{i}.parquet")
    assert read(find_raw_columns(dataset, ["k"], "group_key", tmp_path)) == {
        "k": [3] * 6 + [2**40] * 6
    }


def test_a_column_that_is_not_there_is_refused_by_file_and_key(tmp_path):
    dataset = dataset_of(tmp_path, [feature("user")])
    with pytest.raises(DataError) as caught:
        find_raw_columns(dataset, ["vidoe", "n"], "group_key", tmp_path)
    text = str(caught.value)
    assert "valid.csv (valid): there is no column 'vidoe'" in text
    assert "prediction_columns" in text
    assert "Did you mean 'video'?" in text
    assert "train.csv" not in text, "only valid and test are predicted"


def test_without_groups_and_columns_there_is_nothing_to_read(tmp_path):
    assert (
        find_raw_columns(dataset_of(tmp_path, [feature("user")]), [], "group_key", tmp_path) is None
    )


def log_of(project):
    return (project.folder / "checkpoints" / "toy" / "toy_test.log").read_text()


def test_a_run_saves_raw_keys_and_columns(project, monkeypatch):
    """The group is a copy of `user` that the config does not name; `video` is declared nowhere."""
    for split, frame in project.frames.items():
        video = pl.Series([f"{split}-{i}" for i in range(len(frame))])
        user = pl.when(pl.int_range(pl.len()) % 7 > 0).then("user")
        project.frames[split] = frame.with_columns(user, video=video)
    project.model |= {"epochs": 1, "save_predictions": True, "prediction_columns": ["video", "age"]}
    assert project.run() == 0
    folder = project.folder / "checkpoints" / "toy" / "toy_test"
    for split in ("valid", "test"):
        saved, rows = (
            pl.read_parquet(folder / f"predictions_{split}.parquet"),
            project.frames[split],
        )
        assert saved.columns[-4:] == ["group", "group_key", "video", "age"]
        assert saved["group_key"].to_list() == rows["user"].to_list()
        assert saved["video"].to_list() == rows["video"].to_list()
        assert saved["age"].to_list() == rows["age"].to_list()
        assert saved["like"].to_list() == rows["like"].to_list()
        # The numbers of the groups and their keys are the same groups.
        assert saved.select("group", "group_key").n_unique() == saved["group"].n_unique() == 21
    figures = result_of(project)
    # These change no figure, and neither does a file that changes while the run goes on.
    from fuxictr_stem import experiment

    evaluate = experiment.evaluate_predictions

    def and_change(*arguments):
        with (project.folder / "test.csv").open("a") as file:
            file.write("u1,i1,0.5,1,0,late\n")
        return evaluate(*arguments)

    monkeypatch.setattr(experiment, "evaluate_predictions", and_change)
    assert project.run() == 0
    for split in ("valid", "test"):
        saved = pl.read_parquet(folder / f"predictions_{split}.parquet")
        assert "group_key" not in saved.columns
        assert f"predictions of {split} are saved without the columns group_key, v" in log_of(
            project
        )
    assert result_of(project)["test"] == figures["test"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"save_predictions": False},
            "prediction_columns: adds columns to .* Set save_predictions",
        ),
        ({"prediction_columns": ["age", "age"]}, "prediction_columns: names 'age' twice"),
        (
            {"prediction_columns": ["like"]},
            "names 'like', but in saved predictions that is the name of the labels",
        ),
        (
            {"prediction_columns": ["like_pred"]},
            "names 'like_pred', but .* the name of the outputs of 'like'",
        ),
        ({"prediction_columns": ["group"]}, "names 'group', but .* the name of the groups"),
        (
            {"prediction_columns": ["group_key"]},
            "names 'group_key', but .* the name of the raw values",
        ),
        ({"prediction_columns": "age"}, "prediction_columns: must be"),
    ],
)
def test_columns_of_one_name_are_refused(project, model, message):
    project.model |= {"save_predictions": True, "prediction_columns": ["age"], **model}
    project.write_configs()
    with pytest.raises(ConfigError) as caught:
        load_experiment(project.folder / "config", "toy_test")
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize("name", ["group", "group_key"])
def test_a_label_called_as_the_groups_are_is_refused(project, name):
    project.dataset["label_col"].append({"name": name, "dtype": "float"})
    project.model |= {"save_predictions": True, "task_labels": ["like", name]}
    project.write_configs()
    with pytest.raises(ConfigError, match=f"task_labels: '{name}' is also the name of the "):
        load_experiment(project.folder / "config", "toy_test")


def test_a_csv_that_polars_does_not_read_alone(tmp_path):
    """Blank lines, a quote in an unquoted field, a blank behind a number, a word for a missing one."""
    text = 'user,n,y\n5" pad,1 ,0\n\nNA, 2,1\n\n"c,d",NA,0\n'
    features = [feature("user", "meta"), feature("n", dtype="int")]
    dataset = dataset_of(tmp_path, features, group_id="user", null_values=["NA"])
    Path(dataset["valid_data"]).write_text(text)
    # Caches may lie where no run can write.
    dataset["data_root"] = dataset["train_data"]
    (tmp_path / "run").mkdir()
    found = find_raw_columns(dataset, ["n"], "group_key", tmp_path / "run")
    assert read(found) == {"group_key": ['5" pad', None, "c,d"], "n": [1, 2, None]}
    assert not list((tmp_path / "run").iterdir()), "no copy is left"
