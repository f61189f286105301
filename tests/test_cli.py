"""What the commands say on the console, and where."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = [
    ["split", "task", "logloss", "AUC", "gAUC"],
    *([split, task] for split in ("valid", "test") for task in ("finish", "like", "mean")),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copy(ROOT / "run_expid.py", folder)
    shutil.copytree(ROOT / "config", folder / "config")
    return folder


@pytest.mark.parametrize("which", ["first", "cached", "finished"])
def test_a_run_on_the_console(home, which):
    """The result alone on stdout; on stderr what a reader follows; the rest in the log file."""
    options = ["--resume"] if which == "finished" else []
    done = subprocess.run(
        [sys.executable, "run_expid.py", "--expid", "STEMNet_test", *options],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [rows[0], *(row[:2] for row in rows[1:])] == TABLE
    assert all(0 < float(cell) < 1 for row in rows[1:] for cell in row[2:])

    said = done.stderr.splitlines()
    assert len(said) <= {"first": 28, "cached": 18, "finished": 4}[which]
    for noise in ("Params:", "feature_map", "column", "group_id", "Unknown ids", "WARNING"):
        assert noise not in done.stderr
    assert "Best epoch 1 of 1 (step 13, monitor 0." in said[-2]
    home_of_results = Path("checkpoints") / "tiny_sample"
    assert f"{home_of_results}/STEMNet_test/result.json" in said[-1]
    assert f"{home_of_results}/STEMNet_test.log" in said[-1]
    if which != "finished":
        assert sum(line.endswith(" STEMNet_test") for line in said) == 1, "one header"
        for part in ("STEMNet, parameters: ", "train 3,240, valid 360, test 400", "finish", "CPU"):
            assert part in done.stderr
        log = (home / home_of_results / "STEMNet_test.log").read_text()
        for detail in ("Params: {", "Load feature_map", "Unknown ids of valid", done.stdout):
            assert detail in log
