"""Every command under torchrun: done by all ranks together, or rejected, with one message."""

import json
import os
import re
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from fuxictr_stem import cli
from fuxictr_stem.cli import main
from tests.support.finished import finish
from tests.support.project import Project, result_of, toy_rows
from tests.support.ranks import ROOT, close

pytestmark = pytest.mark.slow

RANKS = 3

# Each command begins when all ranks are done with the one before, as if they had just been started.
COMMANDS = """
import json, logging, os, sys, time
from torch import distributed
from fuxictr_stem.cli import main
from fuxictr_stem.fuxictr_entry import main as entry

rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
store = next(distributed.rendezvous("env://"))[0]

def wait(name):
    store.add(name, 1)
    while store.add(name, 0) < count:
        time.sleep(0.005)

codes = []
for number, command in enumerate(json.load(open("commands.json"))):
    wait(f"before {number}")
    if rank == 0:
        for stream in (sys.stdout, sys.stderr):
            print(f"=== {number}", file=stream, flush=True)
        # A mistake of the command before would end the ranks of this one, too.
        store.delete_key("mistake")
    wait(f"begin {number}")
    try:
        code = entry(None, command[1:]) if command[0] == "entry" else main(command)
    except SystemExit as end:
        code = end.code
    codes.append(code)
    logging.disable(logging.NOTSET)
    if distributed.is_initialized():
        distributed.destroy_process_group()
with open(f"codes-{rank}.json", "w") as file:
    json.dump(codes, file)
"""


class Done(NamedTuple):
    """What became of a command."""

    codes: list  # by rank
    out: str
    err: str


def all_of(folder, commands):
    """Run commands one after the other, in one start of torchrun."""
    (folder / "commands.py").write_text(COMMANDS)
    (folder / "commands.json").write_text(json.dumps(commands))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    done = subprocess.run(
        [sys.executable, *start, "commands.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [json.loads((folder / f"codes-{rank}.json").read_text()) for rank in range(RANKS)]
    outs, errs = (
        re.split(r"^=== \d+\n", text, flags=re.M)[1:] for text in (done.stdout, done.stderr)
    )
    return [Done(*parts) for parts in zip(zip(*codes, strict=True), outs, errs, strict=True)]


def for_one_process():
    """Each command that several processes cannot do, with all that it needs."""
    for name, (run, _) in cli._COMMANDS.items():
        if run is not None and run not in cli._TOGETHER:
            needed = [
                word
                for option, settings, _, commands in cli._OPTIONS
                if name in commands and settings.get("required")
                for word in (option, "x")
            ]
            yield [*name.split(), *needed]


def test_commands_of_several_ranks_are_those_of_one_process(tmp_path, monkeypatch, root_logging):
    monkeypatch.chdir(tmp_path)
    finished = finish(tmp_path)
    at = 0
    for number, count in enumerate([7, 64, 1, 100, 28]):
        rows = finished.test[at : at + count]
        rows.write_parquet(tmp_path / f"part{number}.parquet")
        at += count
    finished.test.head(70).write_csv("new.csv")
    project = Project(tmp_path)
    project.model |= {"epochs": 1}
    assert project.run() == 0
    os.rename("checkpoints", "day1")
    source = "day1/toy/toy_test"
    project.frames["train"] = toy_rows(500, 7).with_columns(
        user=pl.col("user").replace({"u3": "new_u", "u4": "other_u"})
    )
    scored = ["--run", "run", "--data", "part*.parquet"]
    good = {
        "scores.parquet": ["predict", *scored, "--keep", "country,item"],
        "scores.csv": ["predict", "--run", "run", "--data", "new.csv"],
        "metrics.json": ["evaluate", *scored, "--metrics", "AUC,gAUC,logloss", "--by", "country"],
    }
    good = {out: [*command, "--out", out] for out, command in good.items()}
    train = ["run", "--config", "config", "--expid", "toy_test", "--init-from"]
    expected = {}
    for out, command in good.items():
        assert main(command) == 0
        expected[out] = (tmp_path / out).read_bytes()
        os.remove(out)
    assert project.run("--init-from", source) == 0
    result, weights = result_of(project), load_file("checkpoints/toy/toy_test/model.safetensors")
    os.rename("checkpoints", "alone")

    bad = [
        (["predict", *scored, "--out", "out.txt"], "must end with .parquet or .csv"),
        (["predict", "--run", "run", "--data", "nothing.csv", "--out", "o.csv"], "nothing.csv"),
        (["predict", "--run", "no run", "--data", "new.csv", "--out", "o.csv"], "no such folder"),
        (["predict", *scored, "--keep", "contry", "--out", "o.csv"], "'country'"),
        (["evaluate", *scored, "--metrics", "AOC"], "'AUC'"),
        (["evaluate", *scored, "--metric"], "--help"),
        (["score"], "invalid choice: 'score'"),
        ([*train, "run"], "--init-from run does not fit"),
        ([*train, "nowhere"], "no such folder"),
        (["entry", "--expid", "x", "--engine", "fuxictr"], "--engine fuxictr works in one process"),
    ]
    alone = list(for_one_process())
    bad += [(command, "works in one process. Start it without torchrun") for command in alone]
    commands = [*good.values(), [*train, source], *(command for command, _ in bad)]
    before = set(os.listdir())
    done = all_of(tmp_path, commands)

    for out, (codes, _, err) in zip(good, done, strict=False):
        assert codes == (0,) * RANKS, err
        assert err.count("Loading PyTorch") == 1, err
        assert (tmp_path / out).read_bytes() == expected[out], out
    assert done[2].out.count("finish") == 0
    assert done[2].out.count("mean") == 1
    codes, out, err = done[3]
    assert codes == (0,) * RANKS, err
    assert err.count("Starts from the weights of") == out.count("split  task") == 1
    again = result_of(project)
    assert again["init_from"] == result["init_from"]
    assert again["init_from"]["tokens"]["user"] == {
        "tokens": 20,
        "matched": 18,
        "new": 2,
        "gone": 2,
    }
    for split in ("valid", "test"):
        close(again[split], result[split])
    for name, weight in load_file("checkpoints/toy/toy_test/model.safetensors").items():
        np.testing.assert_allclose(weight, weights[name], rtol=1e-3, atol=1e-4, err_msg=name)
    for (command, words), (codes, out, err) in zip(bad, done[4:], strict=True):
        assert codes == (2,) * RANKS, (command, err)
        assert err.count("error: ") == 1, (command, err)
        assert words in err, (command, err)
        assert "Traceback" not in err, (command, err)
        assert not out, (command, out)
    left = set(os.listdir()) - before - set(good) - {"checkpoints", "data", "config.csv"}
    assert {name for name in left if not name.startswith(("commands", "codes-"))} == set()
