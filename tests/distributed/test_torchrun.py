"""Runs under torchrun: the result of one process, and one message at any end."""

import json
import os
import shutil
import signal
import time

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.support.project import result_of
from tests.support.ranks import Torchrun, process_of_rank

pytestmark = pytest.mark.slow

HOME = "checkpoints/toy/toy_test"


@pytest.fixture
def torchrun(project, tmp_path):
    project.write()
    return Torchrun(tmp_path)


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


def close(one, other, path=""):
    """Numbers equal to rounding, all else exactly; AUCs to a few pairs that rounding may tie."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key, value in one.items():
            close(value, other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, value in enumerate(one):
            close(value, other[index], f"{path}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=2e-2 if "AUC" in path else 1e-5), path
    else:
        assert one == other, path


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_run_folder_is_that_of_one_process(project, torchrun, ranks):
    project.model |= {"save_predictions": True, "epochs": 3, "eval_steps": 7, "learning_rate": 0.02}
    project.model |= {"save_best_only": False, "early_stop_patience": 9}
    assert project.run() == 0
    home = project.folder / HOME
    expected, names = result_of(project), names_in(home)
    weights = load_file(home / "model.safetensors")
    last = load_file(home / "model_last.safetensors")
    tables = [pl.read_parquet(home / f"predictions_{split}.parquet") for split in ("valid", "test")]
    run = json.loads((home / "run.json").read_text())
    os.rename(project.folder / "checkpoints", project.folder / "before")
    # The cache is built anew by the first rank, and the others find it.
    os.rename(project.folder / "data", project.folder / "data_before")

    process = torchrun.start(ranks=ranks)
    said = torchrun.end(process)
    assert process.returncode == 0, said
    assert said.count("Built the cache") == said.count("Start training") == 1
    assert (torchrun.folder / "stdout").read_text().count("valid") == 3
    assert names_in(home) == names
    result = result_of(project)
    varying = ("seconds", "samples_per_second", "peak_rss_bytes")
    close(without(result, *varying), without(expected, *varying))
    for name, before in (("model", weights), ("model_last", last)):
        after = load_file(home / f"{name}.safetensors")
        assert after.keys() == before.keys()
        for key, weight in before.items():
            torch.testing.assert_close(after[key], weight, rtol=1e-3, atol=1e-4, msg=key)
    for split, before in zip(("valid", "test"), tables, strict=True):
        after = pl.read_parquet(home / f"predictions_{split}.parquet")
        predicted = [name for name in before.columns if name.endswith("_pred")]
        assert len(predicted) == 2
        assert after.drop(predicted).equals(before.drop(predicted))
        difference = (after[predicted].to_numpy() - before[predicted].to_numpy()).__abs__()
        assert np.max(difference) < 1e-4
    after = json.loads((home / "run.json").read_text())
    assert after.keys() == run.keys()
    lines = (project.folder / "config.csv").read_text().splitlines()
    assert len(lines) == 2


def test_a_mistake_on_all_ranks_and_on_one_is_reported_once(torchrun):
    process = torchrun.start("--init-from", "elsewhere")
    said = torchrun.end(process)
    assert process.returncode == 1  # torchrun's own; the ranks end with 2
    assert said.count("error: ") == 1
    assert said.count("--init-from: several processes begin with random weights") == 1
    assert "exitcode  : 2" in said

    process = torchrun.start(WRONG_RANK="1")
    said = torchrun.end(process)
    assert said.count("error: ") == said.count("The file of this rank is not there.") == 1
    assert "exitcode  : 2" in said
    assert not (torchrun.folder / HOME / "result.json").exists()


def test_a_rank_that_is_killed_ends_all_with_its_name(project, torchrun):
    project.model |= {"epochs": 100_000, "early_stop_patience": 100_000}
    project.write()
    process = torchrun.start()
    torchrun.wait_for("Epoch 2", process)
    os.kill(process_of_rank(process.pid, 1), signal.SIGKILL)
    began = time.monotonic()
    said = torchrun.end(process)
    assert time.monotonic() - began < 60
    assert said.count("error: ") == 1
    assert "error: Rank 1 of 2 (counted from 0) has ended" in said
    assert not (torchrun.folder / HOME / "result.json").exists()


def test_a_rank_that_hangs_ends_all_with_its_name(project, torchrun):
    project.model |= {"epochs": 100_000, "early_stop_patience": 100_000}
    project.write()
    process = torchrun.start(ANSWER_SECONDS="20")
    torchrun.wait_for("Epoch 2", process)
    hung = process_of_rank(process.pid, 1)
    os.kill(hung, signal.SIGSTOP)
    said = torchrun.end(process, seconds=180)
    assert said.count("error: ") == 1
    assert "error: Rank 1 of 2 (counted from 0) has ended" in said


def outcome(project):
    return {key: result_of(project)[key] for key in ("valid", "test", "epochs", "evaluations")}


def begin_and_kill(torchrun):
    """Begin a run of two ranks and kill one of them when there are states."""
    process = torchrun.start()
    torchrun.wait_for("Saved the state", process)
    os.kill(process_of_rank(process.pid, 1), signal.SIGKILL)
    torchrun.end(process)
    assert not (torchrun.folder / HOME / "result.json").exists()
    assert list((torchrun.folder / HOME / "states").glob("state-*"))


def test_a_killed_run_goes_on_bit_for_bit_with_as_many_ranks(project, torchrun):
    project.model |= {"epochs": 8, "state_steps": 7, "net_dropout": 0.2, "early_stop_patience": 9}
    project.write()
    process = torchrun.start()
    torchrun.end(process)
    assert process.returncode == 0
    expected = outcome(project), (torchrun.folder / HOME / "model.safetensors").read_bytes()
    os.rename(torchrun.folder / "checkpoints", torchrun.folder / "unbroken")

    begin_and_kill(torchrun)
    process = torchrun.start("--resume")
    said = torchrun.end(process)
    assert process.returncode == 0, said
    assert said.count("--resume: going on from") == 1
    weights = (torchrun.folder / HOME / "model.safetensors").read_bytes()
    assert (outcome(project), weights) == expected
    assert not (torchrun.folder / HOME / "states").exists()

    process = torchrun.start("--resume")
    said = torchrun.end(process)
    assert process.returncode == 0, said
    assert said.count("this run is finished") == 1


def test_torchrun_starts_a_killed_run_again(project, torchrun):
    project.model |= {"epochs": 8, "state_steps": 7, "early_stop_patience": 9}
    project.write()
    process = torchrun.start("--resume", restarts=2)
    torchrun.wait_for("Saved the state", process)
    os.kill(process_of_rank(process.pid, 1), signal.SIGKILL)
    said = torchrun.end(process)
    assert process.returncode == 0, said
    assert said.count("--resume: going on from") == 1
    assert (torchrun.folder / HOME / "result.json").exists()


def test_a_killed_run_goes_on_alone_or_with_other_ranks(project, torchrun):
    project.model |= {"epochs": 8, "state_steps": 7, "early_stop_patience": 9}
    assert project.run() == 0
    expected = outcome(project)
    os.rename(project.folder / "checkpoints", project.folder / "unbroken")

    begin_and_kill(torchrun)
    shutil.copytree(project.folder / "checkpoints", project.folder / "killed")
    assert project.run("--resume") == 0
    close(outcome(project), expected)
    os.rename(project.folder / "checkpoints", project.folder / "alone")

    os.rename(project.folder / "killed", project.folder / "checkpoints")
    process = torchrun.start("--resume", ranks=3)
    said = torchrun.end(process)
    assert process.returncode == 0, said
    close(outcome(project), expected)


def test_sigterm_to_torchrun_saves_one_state_and_says_so_once(project, torchrun):
    project.model |= {"epochs": 100_000, "early_stop_patience": 100_000}
    project.write()
    process = torchrun.start()
    torchrun.wait_for("Epoch 2", process)
    process.send_signal(signal.SIGTERM)
    said = torchrun.end(process)
    assert said.count("Stopped by SIGTERM after step") == said.count("The state is saved") == 1
    assert "error: " not in said
    assert len(list((torchrun.folder / HOME / "states").glob("state-*"))) == 1
