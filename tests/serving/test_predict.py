"""Scores of new rows are those of training, whatever holds the rows."""

import gzip
import json
import logging
import os
import tempfile

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fuxictr_stem
from fuxictr_stem.errors import OutputError
from fuxictr_stem.runtime.outputs import final_name
from tests.support.processes import killed_at
from tests.support.served import SCORES, assert_same, predict, without_labels


def write(frame, path):
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")


@pytest.mark.parametrize("name", ["new.csv", "new.csv.gz", "new.parquet", "new.tsv"])
@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
def test_a_files_scores_are_those_saved_in_training(finished, tmp_path, name, out):
    write(without_labels(finished), tmp_path / name)
    assert predict(finished, "--data", name, "--keep", "country,item", out=out) == 0
    schema = dict.fromkeys(SCORES, pl.Float32)
    scores = pl.read_csv(out, schema_overrides=schema) if ".csv" in out else pl.read_parquet(out)
    assert scores.columns == ["country", "item", *SCORES]
    assert scores["country"].to_list() == finished.test["country"].to_list()
    assert_same(scores, finished)


def test_frames_come_back_as_what_they_are(finished):
    run, rows = fuxictr_stem.load(finished.folder), without_labels(finished)
    frame = run.predict(rows, keep="country")
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["country", *SCORES]
    assert_same(frame, finished)
    lazy = run.predict(rows.lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert_same(lazy.collect(), finished)
    pandas = rows.to_pandas()
    pandas.index = [f"row {i}" for i in range(len(pandas))]
    scores = run.predict(pandas, keep=["country", "age"])
    assert isinstance(scores, pd.DataFrame)
    assert list(scores.index) == list(pandas.index)
    assert scores[SCORES].dtypes.eq(np.float32).all()
    pd.testing.assert_frame_equal(scores[["country", "age"]], pandas[["country", "age"]])
    assert_same(scores, finished)


def test_kept_columns_have_their_values_and_types(finished, capsys):
    rows = without_labels(finished).with_columns(
        when=pl.Series([f"2026-01-{1 + i % 28:02}" for i in range(200)]).str.to_date(),
        list=pl.lit([1, 2]),
        bytes=pl.lit(b"x"),
        code=pl.Series([f"{i:04}" for i in range(200)]),
    )
    rows.write_parquet("new.parquet")
    kept = ["when", "list", "code", "age"]
    assert predict(finished, "--data", "new.parquet", "--keep", ",".join(kept)) == 0
    assert pl.read_parquet("out.parquet").select(kept).equals(rows.select(kept))
    for name in ("list", "bytes"):
        assert predict(finished, "--data", "new.parquet", "--keep", name, out="out.csv") == 2
        assert f"a csv file cannot hold {name}" in capsys.readouterr().err
    rows.drop("when", "list", "bytes").write_csv("new.csv")
    assert predict(finished, "--data", "new.csv", "--keep", "code") == 0
    assert pl.read_parquet("out.parquet")["code"].to_list() == rows["code"].to_list()
    answers = rows.drop("when", "list", "bytes").with_columns(like=pl.lit("yes"))
    answers.write_csv("new.csv")
    assert predict(finished, "--data", "new.csv", "--keep", "like") == 0
    assert pl.read_parquet("out.parquet")["like"].unique().to_list() == [1.0]
    answers.with_columns(like=pl.lit("maybe")).write_csv("new.csv")
    assert predict(finished, "--data", "new.csv", "--keep", "like") == 2
    assert "column 'like' is not a number in 200 rows" in capsys.readouterr().err


def test_mostly_unknown_ids_are_warned_of(finished, caplog):
    run = fuxictr_stem.load(finished.folder)
    rows = without_labels(finished).with_columns(item=pl.col("item") + ".0")
    with caplog.at_level(logging.WARNING):
        run.predict(without_labels(finished))
        assert "are unknown" not in caplog.text
        run.predict(rows)
    assert "column 'item': 100.0 % of the ids are unknown (0.0 % in train)" in caplog.text


def spoiled(finished, name):
    """Return rows that are wrong in a way, and what the message says."""
    rows = without_labels(finished)
    text = rows.write_csv()
    lines = text.splitlines()
    column = rows.columns.index("age")
    bad = lines[3].split(",")
    bad[column] = "old"
    return {
        "missing column": (rows.drop("item", "age").write_csv(), ["'item'", "'age'"]),
        "bad value": ("\n".join([*lines[:3], ",".join(bad), *lines[4:]]), ["'age'", "'old'"]),
        "odd quote": ("\n".join([*lines[:3], '"' + lines[3], *lines[4:]]), ["new.csv"]),
        "cut off": (text[: len(text) // 2].rsplit(",", 3)[0], ["another number of fields"]),
        "empty": ("", ["empty (0 bytes)"]),
        "header only": (lines[0] + "\n", ["no rows"]),
    }[name]


@pytest.mark.parametrize(
    "name", ["missing column", "bad value", "odd quote", "cut off", "empty", "header only"]
)
def test_bad_rows_end_in_one_message(finished, tmp_path, capsys, name):
    content, words = spoiled(finished, name)
    (tmp_path / "new.csv").write_text(content)
    (tmp_path / "out.parquet").write_text("before")
    capsys.readouterr()
    assert predict(finished, "--data", "new.csv") == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    assert "Traceback" not in said
    for word in words:
        assert word in said
    assert (tmp_path / "out.parquet").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "out.parquet", "run"}


def test_bad_arguments_end_in_one_message(finished, tmp_path, capsys):
    rows = without_labels(finished).with_columns(like_pred=pl.lit(1))
    rows.write_parquet("new.parquet")
    (tmp_path / "link.parquet").symlink_to("new.parquet")
    (tmp_path / "folder.parquet").mkdir()
    cases = [
        (["--data", "new.parquet", "--keep", "contry"], "out.parquet", "'country'"),
        (["--data", "new.parquet", "--keep", "like_pred"], "out.parquet", "a column of scores"),
        (["--data", "new.parquet", "--keep", "item,item"], "out.parquet", "named twice"),
        (["--data", "new.parquet"], "new.parquet", "one of the input files"),
        (["--data", "new.parquet"], "link.parquet", "one of the input files"),
        (["--data", "new.parquet"], "out.txt", "must end with .parquet or .csv"),
        (["--data", "new.parquet"], "folder.parquet", "is a folder"),
        (["--data", "new.parquet"], "nowhere/out.csv", "there is no folder nowhere"),
        (["--data", "now.parquet"], "out.csv", "Did you mean 'new.parquet'"),
        (["--data", "new.parquet", "--gpu", "9"], "out.csv", "--gpu 9"),
        (["--data", "run/result.json"], "out.csv", "does not end with"),
    ]
    content = (tmp_path / "new.parquet").read_bytes()
    for arguments, out, word in cases:
        capsys.readouterr()
        assert predict(finished, *arguments, out=out) == 2, arguments
        said = capsys.readouterr().err
        assert word in said, (word, said)
        assert said.count("error:") == 1
        assert (tmp_path / "new.parquet").read_bytes() == content


def _score(folder, data, out, system):
    tempfile.tempdir = str(system)
    fuxictr_stem.load(folder).predict_to(out, data)


def _measure(folder, data, system):
    tempfile.tempdir = str(system)
    return dict(fuxictr_stem.load(folder).evaluate(data))


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A temporary folder of the system's."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "system").mkdir()
    return tmp_path / "system"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("fuxictr_stem.data.source.csv_files:_as_numbers", "new.csv"),
        ("fuxictr_stem.runtime.outputs:sync_file", "new.parquet"),
    ],
)
def test_a_killed_prediction_leaves_no_half_file(finished, tmp_path, system, place, name):
    write(without_labels(finished), tmp_path / name)
    out = tmp_path / "out" / "scores.parquet"
    out.parent.mkdir()
    killed_at(place, _score, finished.folder, tmp_path / name, out, system)
    left = list(out.parent.iterdir())
    assert [path.name.startswith("scores.parquet.tmp-") for path in left] == [True]
    # Of the csv file, a copy was being made.
    copies = [path for path in left[0].rglob("*") if path.is_file() and "rows" in path.parent.name]
    assert len(copies) == (name == "new.csv")
    _score(finished.folder, tmp_path / name, out, system)
    assert [path.name for path in out.parent.iterdir()] == ["scores.parquet"]
    assert_same(pl.read_parquet(out), finished)
    assert not list(system.iterdir())


@pytest.mark.slow
def test_a_killed_evaluation_leaves_what_the_next_removes(finished, tmp_path, system):
    finished.test.write_csv(tmp_path / "new.csv")
    arguments = finished.folder, tmp_path / "new.csv", system
    killed_at("fuxictr_stem.data.source.csv_files:_as_numbers", _measure, *arguments)
    (left,) = system.iterdir()
    assert left.stat().st_mode & 0o777 == 0o700
    # That of a process that is there stays.
    other = left.with_name(f"{final_name(left.name)}.tmp-{os.getpid()}-0badcafe")
    assert other.name != left.name
    other.mkdir()
    result = json.loads((finished.folder / "result.json").read_text())
    assert _measure(*arguments) == result["test"]
    assert list(system.iterdir()) == [other]


def test_a_full_disk_leaves_what_was_there(finished, tmp_path, monkeypatch):
    from pyarrow import parquet

    without_labels(finished).write_parquet("new.parquet")
    (tmp_path / "out.parquet").write_text("before")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    run = fuxictr_stem.load(finished.folder)
    with pytest.raises(OutputError, match="No space left"):
        run.predict_to("out.parquet", "new.parquet")
    assert (tmp_path / "out.parquet").read_text() == "before"
    assert not list(tmp_path.glob("*.tmp-*"))
