"""What the commands say on the console, and where."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import SECONDS, start

ROOT = Path(__file__).parents[1]
TABLE = [
    ["split", "task", "logloss", "AUC", "gAUC"],
    *([split, task] for split in ("valid", "test") for task in ("finish", "like", "mean")),
]


def test_a_run_on_the_console(tmp_path):
    """The result alone on stdout; on stderr what a reader follows; the rest in the log file."""
    home = copy_of_the_script(tmp_path / "copy")
    done = script(home, "STEMNet_test")
    assert done.returncode == 0, done.stderr
    first = check_console(home, done.stdout, done.stderr, most_lines=28)
    assert (home / "config.csv").read_text().count("\n") == 1
    cached = check_console(home, *again(home), most_lines=18)
    resumed = check_console(home, *again(home, "--resume"), most_lines=4)
    assert resumed == cached == first


def test_a_mistake_on_the_console(tmp_path):
    done = script(copy_of_the_script(tmp_path / "copy"), "SharedBotom_test")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "SharedBottom_test" in done.stderr


def copy_of_the_script(home):
    """A folder with the script, the package and the configs, and no results."""
    home.mkdir()
    shutil.copy(ROOT / "run_expid.py", home)
    for part in ("config", "fuxictr_stem"):
        (home / part).symlink_to(ROOT / part)
    return home


def script(home, expid):
    """The script word for word, from another folder, in a process of its own."""
    command = [sys.executable, str(home / "run_expid.py"), "--expid", expid]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    more = {"cwd": home.parent, "env": environment, "capture_output": True, "text": True}
    return subprocess.run(command, check=False, **more)


def again(home, *options):
    """The same from a process that has imported everything; what it writes to stdout and stderr."""
    streams = [home.parent / "stdout", home.parent / "stderr"]
    process = start(_as_script, home, streams, ["--expid", "STEMNet_test", *options])
    process.join(SECONDS)
    assert process.exitcode == 0
    return [path.read_text() for path in streams]


def _as_script(home, streams, arguments):
    for handle, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
    sys.argv[1:] = arguments
    runpy.run_path(str(home / "run_expid.py"), run_name="__main__")


def check_console(home, stdout, stderr, most_lines):
    rows = [line.split() for line in stdout.splitlines()]
    assert [rows[0], *(row[:2] for row in rows[1:])] == TABLE
    assert all(0 < float(cell) < 1 for row in rows[1:] for cell in row[2:])
    assert float(rows[-1][TABLE[0].index("AUC")]) > 0.5

    said = stderr.splitlines()
    assert len(said) <= most_lines
    for noise in ("Params:", "feature_map", "column", "group_id", "Unknown ids", "WARNING"):
        assert noise not in stderr
    assert "Best epoch 1 of 1 (step 13, monitor 0." in said[-2]
    home_of_results = Path("checkpoints") / "tiny_sample"
    assert f"{home_of_results}/STEMNet_test/result.json" in said[-1]
    assert f"{home_of_results}/STEMNet_test.log" in said[-1]
    if most_lines > 4:
        assert sum(line.endswith(" STEMNet_test") for line in said) == 1, "one header"
        for part in (
            "Setting up the model.",
            "STEMNet, parameters: ",
            "train 3,240, valid 360, test 400",
            "finish",
            "CPU",
        ):
            assert part in stderr
        log = (home / home_of_results / "STEMNet_test.log").read_text()
        for detail in ("Params: {", "Load feature_map", "Unknown ids of valid", stdout):
            assert detail in log
    return stdout
