"""Runs of a tuner without training: threads that write at once what a run leaves."""

import json
import multiprocessing
import os
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors.numpy import save_file

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.config.result_settings import result_settings
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.tuning import execute, run_tuner

DIVERGES = 0.5
"""The learning rate with which a run fails."""

EVALUATIONS = 3
METRICS = ("logloss", "AUC", "gAUC")


def metrics(rate, evaluation=EVALUATIONS):
    """Made-up results of a learning rate: 0.005 is best, ``like`` wants more of it and ``view`` less."""
    away = np.log10(rate) - np.log10(0.005)
    values = {"like": 0.8 - 0.04 * (away - 0.5) ** 2, "view": 0.8 - 0.04 * (away + 0.5) ** 2}
    values = {label: value - 0.02 * (EVALUATIONS - evaluation) for label, value in values.items()}
    values[""] = sum(values.values()) / 2
    figures = {}
    for label, value in values.items():
        of_label = {"AUC": value, "gAUC": value, "logloss": 1 - value}
        figures |= {f"{label}_{name}".strip("_"): float(of_label[name]) for name in METRICS}
    return figures


def work(job, log, line):
    """Do as `tuning.worker.work` does, with made-up numbers."""
    params = load_experiment(job["config_dir"], job["expid"], overrides=job["overrides"])
    rate, evaluations = params["learning_rate"], []
    log.write_text("error: it diverged\n" if rate == DIVERGES else "fine\n")
    if rate == DIVERGES:
        sys.exit(2)
    for number in range(1, EVALUATIONS + 1):
        valid = metrics(rate, number)
        evaluations.append({"epoch": number, "step": number, "train_loss": 0.5, "valid": valid})
        if line is not None:
            line.send(evaluations)
            line.recv()
    folder = Path(params["model_root"]) / params["dataset_id"] / params["model_id"]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(1)}, folder / "model.safetensors")
    settings = result_settings({**params, "gpu": -1})
    settings["data"] = fingerprint(params, find_files(params))
    result = {
        **{"expid": params["model_id"], "seed": params["seed"], "epochs": EVALUATIONS},
        **{name: params[name] for name in ("dataset_id", "model")},
        **{split: metrics(rate) for split in ("valid", "test")},
        **{"params": {"dense": 1, "embedding": 1}, "seconds": {"train": 60.0}},
        **{"samples_per_second": 1.0, "peak_rss_bytes": 1, "evaluations": evaluations},
        **{"settings": settings, "versions": versions()},
    }
    (folder / "result.json").write_text(json.dumps(result))


class Process:
    """A thread that looks like a process."""

    def __init__(self, target, args):
        job, log, line = args
        # A process has a handle of its own.
        self._line = None if line is None else Connection(os.dup(line.fileno()))
        self.sentinel, self._end = multiprocessing.Pipe(duplex=False)
        self.exitcode = None
        self._thread = threading.Thread(target=self._run, args=(target, job, log))
        self.start, self.join = self._thread.start, self._thread.join

    def _run(self, target, job, log):
        code = 0
        try:
            target(job, log, self._line)
        except SystemExit as end:
            code = end.code
        except EOFError:
            code = -9
        self.exitcode = code
        self._end.close()

    def kill(self):
        """Nothing: whoever waits for an answer gets none."""


def use(monkeypatch):
    """Have runs be made up."""
    context = SimpleNamespace(
        Process=Process, Pipe=multiprocessing.Pipe, set_forkserver_preload=lambda _: None
    )
    monkeypatch.setattr(execute.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(execute, "work", work)
    cache = SimpleNamespace(folder=Path("cache"))
    monkeypatch.setattr(run_tuner, "open_data", lambda _: cache)
