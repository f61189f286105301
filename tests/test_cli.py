"""What the commands say on the console, and where."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = [
    ["split", "task", "logloss", "AUC", "gAUC"],
    *([split, task] for split in ("valid", "test") for task in ("finish", "like", "mean")),
]


def test_a_run_on_the_console(tmp_path):
    """The result alone on stdout; on stderr what a reader follows; the rest in the log file."""
    shutil.copy(ROOT / "run_expid.py", tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    first = check_console(tmp_path, most_lines=28)
    cached = check_console(tmp_path, most_lines=18)
    assert check_console(tmp_path, "--resume", most_lines=4) == cached == first


def check_console(home, *options, most_lines):
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
    assert len(said) <= most_lines
    for noise in ("Params:", "feature_map", "column", "group_id", "Unknown ids", "WARNING"):
        assert noise not in done.stderr
    assert "Best epoch 1 of 1 (step 13, monitor 0." in said[-2]
    home_of_results = Path("checkpoints") / "tiny_sample"
    assert f"{home_of_results}/STEMNet_test/result.json" in said[-1]
    assert f"{home_of_results}/STEMNet_test.log" in said[-1]
    if not options:
        assert sum(line.endswith(" STEMNet_test") for line in said) == 1, "one header"
        for part in ("STEMNet, parameters: ", "train 3,240, valid 360, test 400", "finish", "CPU"):
            assert part in done.stderr
        log = (home / home_of_results / "STEMNet_test.log").read_text()
        for detail in ("Params: {", "Load feature_map", "Unknown ids of valid", done.stdout):
            assert detail in log
    return done.stdout
