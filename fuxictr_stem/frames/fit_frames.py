"""Train a model from Python, without YAML."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import polars as pl
import torch

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.experiment import run_experiment
from fuxictr_stem.frames import run_place
from fuxictr_stem.frames.python_words import python_words
from fuxictr_stem.frames.request import Request
from fuxictr_stem.frames.training_rows import replace_folder
from fuxictr_stem.init_from.copy_weights import InitialWeights
from fuxictr_stem.results import result_table
from fuxictr_stem.run_data import check_device, open_data
from fuxictr_stem.runtime.group import started_by_torchrun
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.logs import shown
from fuxictr_stem.runtime.outputs import check_writable
from fuxictr_stem.runtime.whole_folder import fresh_folder
from fuxictr_stem.serving.run import Run, load

logger = logging.getLogger(__name__)

Rows: TypeAlias = pl.DataFrame | pl.LazyFrame | pd.DataFrame | str | os.PathLike[str]

# Random numbers and logging are the process's, so calls of several threads take turns.
_TURN = threading.Lock()
_HASH_SEED = "PYTHONHASHSEED"


def fit(
    train: Rows,
    valid: Rows,
    labels: str | Sequence[str] | Mapping[str, Mapping[str, Any]],
    features: Sequence[str] | Mapping[str, str | Mapping[str, Any] | None] | None = None,
    *,
    model: str = "STEMNet",
    test: Rows | None = None,
    out: str | os.PathLike[str] | None = None,
    expid: str | None = None,
    group_id: str | None = None,
    ignore: str | Sequence[str] | None = None,
    gpu: int = -1,
    init_from: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Run:
    """Train a model on data frames and return the finished run.

    The rows are written as parquet into ``out``, and next to them the configs of the run in FuxiCTR's
    form, with what was guessed: ``python -m fuxictr_stem run --config <out>/config --expid <id>`` is the
    same run, to the last digit. Rows that are given as paths stay where they are.

    What is guessed of a column: text, whole numbers and True/False are categorical; floats are numeric,
    scaled by mean and deviation, and missing ones are the mean; lists are sequences, pooled to their mean.
    Dates and times are rejected: make a number of them.

    ``out`` holds one run. A finished one is never replaced without ``overwrite=True``, and then stays
    until the new one has passed all checks. A call that was stopped or killed is simply made again, or
    continues where it was with ``resume=True``, which returns a finished run of the same rows and settings
    without training, and rejects other ones.

    Afterwards the random numbers of Python, NumPy and PyTorch continue as if there had been no training,
    and logging and signal handlers are as before. Memory that training has freed stays with the process,
    for the next one. Calls of several threads take turns.

    Args:
        train: The rows to learn from: a pandas or polars frame, or a path of csv or parquet files.
        valid: The rows that decide when to stop; likewise.
        labels: The columns to predict, of 0 and 1 (or numbers, with ``task="regression"``). Rows without
            one (NaN, null) are left out of its loss and metrics. A mapping gives FuxiCTR's keys, such as
            ``{"click": {}, "buy": {"parent": "click"}}``.
        features: The columns to learn from; None is all others. A mapping says what they are:
            ``{"age": "numeric", "zip": "categorical", "tags": {"type": "sequence", "splitter": ","}}``;
            None as a value guesses.
        model: One of `list_models`.
        test: Rows to measure at the end; likewise.
        out: The folder; ``runs/<model>`` by default.
        expid: The experiment id; ``<model>_<name of out>`` by default.
        group_id: A column whose values group rows for gAUC, such as the user. It is learned from only if
            ``features`` names it.
        ignore: Columns that are no features, where ``features`` is None.
        gpu: Number of the CUDA device, or -1 for the CPU.
        init_from: The folder of a finished run (its ``folder``) whose weights this one starts from, such as
            yesterday's. Table rows are matched by raw value and the rest by task; what is new starts fresh.
            Columns and layers must be the same.
        resume: Continue from the last saved state.
        overwrite: Replace a finished run.
        settings: Of the experiment, its model or its dataset, such as ``epochs=5``, ``embedding_dim=32``,
            ``min_categr_count=10``; ``python -m fuxictr_stem keys`` lists them.

    Returns:
        The run, which scores and measures new rows; its ``folder`` holds all of it.

    Raises:
        UserError: An argument, the rows or ``out`` are not as they must be; in one message.
        Stopped: In the main thread, by Ctrl-C or SIGTERM while it trains; the state is saved.
    """
    if started_by_torchrun():
        raise ConfigError(
            "fit works in one process. Start the script without torchrun; several processes train by the "
            "configs that fit has written: torchrun ... -m fuxictr_stem run --config <out>/config ..."
        )
    rows = {"train": train, "valid": valid} | ({} if test is None else {"test": test})
    out = f"runs/{model}" if out is None else out
    ignore = () if ignore is None else ignore
    request = Request(
        rows, labels, features, model, out, expid, group_id, ignore, gpu, init_from, settings
    )
    with _TURN, shown(), python_words(request.paths), _random_numbers_kept():
        request.check()
        check_device(gpu)
        run_place.check_free(request.out, request.run_folder, overwrite, resume)
        check_writable(request.out, "out")
        has_locks = settings.get("file_locks") is not False
        lock = request.out / ".lock"
        with locked(lock, "out", "another call of fit", has_locks, waits=False):
            return _train(request, gpu, resume)


def _train(request: Request, gpu: int, resume: bool) -> Run:
    """Write rows and configs, check them, train; return the run. The lock is held."""
    out = request.out
    run_place.remove_leftovers(out)
    with fresh_folder(out / "config") as fresh:
        params = request.write_config(fresh)
        digest = None
        if request.init_from is not None:
            # Before the configs in place are replaced.
            digest = InitialWeights(request.init_from, request.run_folder, params, resume).digest
        if resume:
            run_place.check_same(out, request.run_folder, params, digest)
        open_data({**params, "gpu": gpu})
        before = run_place.runs_in_place(out)
        replace_folder(fresh, out / "config")
    logger.info("%s", request.summary())
    config, expid, csv_path = out / "config", params["model_id"], out / "config.csv"
    result = run_experiment(
        config, expid, gpu, False, csv_path=csv_path, resume=resume, init_from=request.init_from
    )
    logger.info("Metrics:\n%s", result_table(result))
    run_place.remove_others(out, before, params, result["settings"]["data"])
    return load(request.run_folder, gpu)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Have random numbers go on afterwards as if there had been no training.

    FuxiCTR's ``seed_everything`` seeds Python, NumPy and PyTorch, sets an environment variable and has
    cuDNN be deterministic.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    deterministic, hash_seed = torch.backends.cudnn.deterministic, os.environ.get(_HASH_SEED)
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.backends.cudnn.deterministic = deterministic
        os.environ.pop(_HASH_SEED, None)
        if hash_seed is not None:
            os.environ[_HASH_SEED] = hash_seed
