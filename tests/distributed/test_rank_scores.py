"""predict and evaluate on ranks that are killed: no half file, and the same command then does its work."""

import os
from pathlib import Path

import polars as pl
import pytest

from fuxictr_stem.cli import main
from tests.support.finished import finish
from tests.support.ranks import Forked, Torchrun

pytestmark = pytest.mark.slow

OLDER = b"what was there before"


def content(name):
    # Parquet may come in other row groups.
    parquet = name.endswith(".parquet")
    return pl.read_parquet(name).rows() if parquet else Path(name).read_bytes()


def test_what_a_kill_has_stopped_the_same_command_does(tmp_path, monkeypatch, root_logging):
    monkeypatch.chdir(tmp_path)
    finished = finish(tmp_path)
    for number in range(5):
        finished.test.write_parquet(f"part{number}.parquet")
    torchrun, forked = Torchrun(tmp_path), Forked(tmp_path)
    for name in ("stdout", "stderr"):
        Path(name).touch()
    cases = [
        ("predict", "scores.parquet", torchrun, "1"),
        ("predict", "scores.csv", forked, "all"),
        ("evaluate", "metrics.json", forked, "0"),
    ]
    for name, out, start, victim in cases:
        command = [name, "--run", "run", "--data", "part*.parquet", "--out", out]
        assert main(command) == 0
        expected = content(out)
        Path(out).write_bytes(OLDER)
        before = set(os.listdir())
        process = start.start(*command, AT_STEP=f"2 {victim} SIGKILL")
        said = start.end(process)
        assert process.returncode == 1, said
        assert Path(out).read_bytes() == OLDER
        survivors = victim != "all"
        assert said.count("error: ") == said.count("Nothing was written.") == survivors, said
        if survivors:
            assert f"error: Rank {victim} of 2 (counted from 0) has ended without a" in said
        process = forked.start(*command)
        said = forked.end(process)
        assert process.returncode == 0, said
        assert content(out) == expected
        assert set(os.listdir()) == before, said
