"""A call of `fit` leaves the process as it was, and goes on after it was killed or stopped."""

import logging
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fuxictr_stem.errors import UserError
from fuxictr_stem.frames import fit_frames
from fuxictr_stem.training.trainer import Trainer
from tests.support import processes
from tests.support.fitted import LABELS, SMALL, message, result_of
from tests.support.shop import shop_rows


def test_nothing_of_the_process_changes(fit):
    root, ours = logging.getLogger(), logging.getLogger("fuxictr_stem")
    handlers = root.handlers[:]
    root.handlers.clear()  # as in a plain Python session
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)

    def state():
        return (
            root.handlers[:],
            root.level,
            ours.level,
            ours.handlers[:],
            dict(os.environ),
            [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.backends.cudnn.deterministic,
            torch.get_num_threads(),
            os.getcwd(),
            threading.active_count(),
        )

    try:
        fit()  # the first import of Ray and of torch._inductor sets variables of their own
        before = state()
        fit(overwrite=True)
        assert state() == before
        message(UserError, fit)
        assert state() == before
    finally:
        root.handlers[:] = handlers


def test_progress_is_seen_without_logging_and_by_the_handlers_there_are(fit, capsys):
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers.clear()
    try:
        fit()
        shown = capsys.readouterr()
        assert "Epoch 1, step" in shown.err
        assert "\ntest   click" in shown.err
        assert not shown.out
        lines = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append((record.levelno, record.getMessage()))
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        fit(overwrite=True)
        assert not capsys.readouterr().err
        assert any("Epoch 1, step" in text for _, text in lines)
        assert not any(level < logging.INFO and "Params" in text for level, text in lines)
    finally:
        root.handlers[:] = handlers


@pytest.mark.slow
def test_it_runs_in_a_thread_and_threads_take_turns(fit, tmp_path):
    first = result_of(fit(out=tmp_path / "alone" / "shop"))
    results = {}

    def work(name):
        results[name] = result_of(fit(out=tmp_path / name / "shop"))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["a"]["test"] == results["b"]["test"] == first["test"]


def _fit_in(folder, **changes):
    frames = {split: shop_rows(400, seed) for seed, split in enumerate(("train", "valid", "test"))}
    arguments = {**frames, "labels": LABELS, "out": Path(folder) / "shop", **SMALL, **changes}
    return result_of(fit_frames.fit(**arguments).folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "resume"),
    [
        ("fuxictr_stem.frames.training_rows:put_in_place", False),
        ("fuxictr_stem.frames.config_files:write_dataset", True),
        ("fuxictr_stem.frames.fit_frames:replace_folder", False),
        ("fuxictr_stem.frames.fit_frames:run_experiment", True),
        ("fuxictr_stem.training.trainer:Trainer._evaluate", False),
        ("fuxictr_stem.training.trainer:Trainer._evaluate", True),
        ("fuxictr_stem.frames.run_place:remove_others", True),
    ],
)
def test_a_killed_call_is_made_again(tmp_path, root_logging, place, resume):
    processes.killed_at(place, _fit_in, str(tmp_path / "killed"))
    whole = _fit_in(tmp_path / "whole")
    finished = list((tmp_path / "killed").glob("shop/checkpoints/*/*/result.json"))
    again = _fit_in(tmp_path / "killed", resume=resume, overwrite=bool(finished) and not resume)
    for key in ("valid", "test", "evaluations"):
        assert again[key] == whole[key]
    assert not [path for path in (tmp_path / "killed").rglob("*") if ".tmp-" in path.name]


def test_ctrl_c_saves_the_state_and_the_call_goes_on(fit, monkeypatch, tmp_path):
    first = result_of(fit(out=tmp_path / "whole" / "shop"))
    losses = Trainer._task_losses
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(trainer):
        os.kill(os.getpid(), signal.SIGINT)
        return losses(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_task_losses", interrupted)
        with pytest.raises(KeyboardInterrupt, match="the same call with resume=True continues"):
            fit()
    assert signal.getsignal(signal.SIGINT) == handler
    again = result_of(fit(resume=True))
    assert (again["test"], again["evaluations"]) == (first["test"], first["evaluations"])
