"""An evaluation as text and as JSON."""

import numpy as np
import polars as pl

from fuxictr_stem.cli import main
from tests.support.served import result


def test_an_undefined_metric_is_shown_as_such(finished, run):
    frame = finished.test.with_columns(like=pl.lit(0), view=pl.lit(None, pl.Int64))
    evaluation = run.evaluate(frame, ["AUC", "logloss"])
    assert np.isnan(evaluation["like_AUC"])
    assert np.isnan(evaluation["AUC"])
    assert evaluation["like_logloss"] > 0
    assert evaluation.undefined == {
        "like_AUC": "no positive",
        "view_AUC": "no sample",
        "view_logloss": "no sample",
    }
    assert "like_AUC is undefined: no positive." in str(evaluation)
    assert evaluation.as_json()["metrics"]["AUC"] is None


def test_the_command_prints_tables(finished, capsys):
    finished.test.write_parquet("new.parquet")
    arguments = ["evaluate", "--run", "run", "--data", "new.parquet", "--metrics", "AUC,gAUC"]
    assert main([*arguments, "--by", "country"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["task", "rows", "AUC", "gAUC"]
    assert lines[1].split()[:3] == ["like", "200", f"{result(finished)['like_AUC']:.6f}"]
    assert lines[5].split()[:3] == ["country", "rows", "task"]
    assert lines[-1] == "[ ]: 95% intervals, groups resampled."
