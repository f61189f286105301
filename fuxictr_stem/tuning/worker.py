"""One run of a search or a benchmark, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def work(job: dict[str, Any], log: Path, line: Connection | None) -> None:
    """Make a run, writing all it says to ``log``; end the process with 0, 2 (the user's mistake) or 1.

    By ``line`` the records of the evaluations are sent after each; an answer lets the run continue.
    """
    with log.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    threading.Thread(target=end_with_parent, daemon=True).start()

    import torch

    from fuxictr_stem.experiment import run_experiment
    from fuxictr_stem.runtime.guarded import RESUME_GOES_ON, run_guarded
    from fuxictr_stem.runtime.memory import Share

    torch.set_num_threads(job["threads"])

    def ask(evaluations: list[dict[str, Any]]) -> None:
        if line is not None:
            line.send(evaluations)
            line.recv()

    def run() -> None:
        run_experiment(
            Path(job["config_dir"]),
            job["expid"],
            job["gpu"],
            allow_stand_in=False,
            overrides=job["overrides"],
            csv_path=Path(job["csv_path"]),
            resume=True,
            share=Share(**job["share"]),
            on_evaluation=ask,
        )

    sys.exit(run_guarded(run, RESUME_GOES_ON))


def end_with_parent() -> None:
    """End the process with the one that started it, even if that is killed.

    A run that outlived it would write into the folder in which its next start makes the run again.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
