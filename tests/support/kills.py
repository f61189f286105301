"""Runs in processes of their own that are killed at any moment, and what they must leave.

Also for the script that does this at length.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tests.support.processes import start
from tests.support.project import Project, toy_rows

# With these a split of some hundred rows has several windows.
_CHUNK_ROWS, _WINDOW_CHUNKS = 16, 4
# Seconds after which a run that should end is stuck.
_STUCK = 300
LOADERS = ("memory", "streaming")
# What differs from run to run: times, and the memory of a process.
_OF_THE_PROCESS = ("seconds", "samples_per_second", "peak_rss_bytes")


def settings_of(loader: str) -> dict[str, Any]:
    """Return the settings of a run whose every random state matters, under one of the loaders."""
    return {
        "state_steps": 3,
        "states_kept": 2,
        "eval_steps": 7,
        "epochs": 3,
        "early_stop_patience": 3,
        "net_dropout": 0.1,
        "loss_weight": "DWA",
        "save_predictions": True,
        "memory_budget": None if loader == "memory" else 1,
    }


def _run(folder: str, expid: str, resume: bool, out: str) -> None:
    """Run the experiment of a project's folder and end the process with its exit code."""
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)

    import torch

    from fuxictr_stem.cli import main
    from fuxictr_stem.data.loading.loader import H5Loader

    torch.set_num_threads(1)
    H5Loader.chunk_rows, H5Loader.window_chunks = _CHUNK_ROWS, _WINDOW_CHUNKS
    arguments = ["run", "--expid", expid, "--config", "config"]
    sys.exit(main([*arguments, "--resume"] if resume else arguments))


@dataclass
class Runner:
    """Starts runs of one project from a process that has imported everything.

    Attributes:
        folder: The project's folder.
        expid: The experiment.
        exit_codes: Of all runs so far.
    """

    folder: Path
    expid: str = "toy_test"
    exit_codes: list[int | None] = field(default_factory=list)

    def start(self, resume: bool = False) -> Any:
        """Start a run and return its process."""
        out = str(self.folder / "out.txt")
        return start(_run, str(self.folder), self.expid, resume, out)

    def run(self, resume: bool = False, kill_after: float | None = None) -> int | None:
        """Run to the end, or to a kill -9 after some seconds; return the exit code."""
        process = self.start(resume)
        process.join(_STUCK if kill_after is None else kill_after)
        process.kill()
        process.join()
        self.exit_codes.append(process.exitcode)
        return process.exitcode

    def output(self) -> str:
        """Return all that the runs wrote."""
        return (self.folder / "out.txt").read_text()


def make(folder: Path, rows: int | None = None, **settings: Any) -> Runner:
    """Write a project into a new folder and return its runner.

    Args:
        folder: The folder.
        rows: Rows of train; the project's own number by default.
        settings: Of the experiment.
    """
    folder.mkdir(parents=True)
    project = Project(folder)
    project.model |= settings
    if rows is not None:
        project.frames["train"] = toy_rows(rows, seed=0)
    project.write()
    return Runner(folder)


def spoil(path: Path, damage: str) -> None:
    """Damage a file: ``cut`` it in two, ``flip`` a bit, ``empty`` or ``delete`` it."""
    content = bytearray(path.read_bytes())
    # Another name of the file must not change with it.
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 3] ^= 4
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")


def left_by(folder: Path, expid: str = "toy_test") -> dict[str, Any]:
    """Return what a finished run has left, without what differs from run to run."""
    home = folder / "checkpoints" / "toy" / expid
    result = json.loads((home / "result.json").read_text())
    lines = (folder / "config.csv").read_text().splitlines()
    return {
        "result": {key: value for key, value in result.items() if key not in _OF_THE_PROCESS},
        "weights": (home / "model.safetensors").read_bytes(),
        "predictions": [
            pl.read_parquet(home / f"predictions_{split}.parquet").to_dict(as_series=False)
            for split in ("valid", "test")
        ],
        "last line": lines[-1].split(",[exp_id] ")[1],
        "files": sorted(path.name for path in home.iterdir()),
        "caches": sorted(path.name for path in (folder / "data" / "toy").iterdir()),
    }


def kill_again_and_again(
    make: Callable[[Path], Runner], folder: Path, kills: int, longest: float, seed: int
) -> Iterator[dict[str, Any]]:
    """Kill runs at random moments and resume them; yield what each that ends has left.

    Args:
        make: Makes a project in a folder.
        folder: For the projects; a new one after each that has ended.
        kills: How many kills in all.
        longest: The latest moment of a kill, in seconds.
        seed: Of the moments.
    """
    rng = random.Random(seed)
    done, number = 0, 0
    while done < kills:
        runner = make(folder / str(number))
        while (
            done < kills and runner.run(True, kill_after=rng.uniform(0, longest)) == -signal.SIGKILL
        ):
            done += 1
        if runner.exit_codes[-1] == -signal.SIGKILL:
            runner.run(True)
        assert runner.exit_codes[-1] == 0, runner.output()
        yield left_by(runner.folder)
        shutil.rmtree(runner.folder)
        number += 1
