"""What an export is checked with: the run's own raw rows, and its test split."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fuxictr_stem.cli import main
from fuxictr_stem.serving.export_folder import check_export
from tests.support.project import Project

pytest.importorskip("onnx", reason="the extra `export` is not installed")


def test_its_rows_are_raw_rows_with_the_runs_scores(exported, finished):
    rows = check_export(exported)["rows"]
    assert len(rows) == 10
    raw = finished.test.head(10)
    # An empty field of a CSV file is a missing value.
    expected = raw.with_columns(pl.col("tags").replace("", None)).to_dicts()
    for row, values in zip(rows, expected, strict=True):
        assert {**row["columns"], "tags": row["columns"]["tags"] or None} == {
            name: values[name] for name in row["columns"]
        }
    saved = finished.saved().head(10)
    for label in ("like", "view"):
        found = [row["scores"][label] for row in rows]
        np.testing.assert_allclose(found, saved[f"{label}_pred"], atol=1e-6)


@pytest.mark.slow
def test_the_change_of_each_test_metric_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    assert project.run() == 0
    run = "checkpoints/toy/toy_test"
    result = json.loads(Path(run, "result.json").read_text())
    capsys.readouterr()
    assert (
        main(["export", "--run", run, "--out", "a", "--format", "program", "--tables", "int8"]) == 0
    )
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert lines["test"] == ["run", "export", "change"]
    for name, value in result["test"].items():
        before, after, change = map(float, lines[name])
        assert before == pytest.approx(value, abs=1e-6)
        assert after - before == pytest.approx(change, abs=2e-6)
        assert abs(change) < 0.02
    project.frames["test"].tail(150).write_csv("test.csv")
    assert (
        main(["export", "--run", run, "--out", "b", "--format", "program", "--tables", "int8"]) == 0
    )
    assert "test split is gone or was changed" in capsys.readouterr().out
