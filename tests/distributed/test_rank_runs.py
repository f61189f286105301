"""Runs of several ranks: the folder that one process leaves, and one message at any end."""

import importlib.util
import json
import os
import signal

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.support.project import result_of
from tests.support.ranks import close, ends
from tests.support.trackers import in_tensorboard, not_measured

pytestmark = pytest.mark.slow

HOME = "checkpoints/toy/toy_test"
KILLED = -signal.SIGKILL
TABLES = [f"predictions_{split}.parquet" for split in ("valid", "test")]
WEIGHTS = ["model.safetensors", "model_last.safetensors"]
# The first rank tracks for all.
TRACKED = importlib.util.find_spec("tensorboard") is not None
VARYING = ("seconds", "samples_per_second", "peak_rss_bytes")


def names_in(folder):
    # The names of event files have the time in them.
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return sorted(name for name in names if "tfevents" not in name)


def test_the_run_folder_is_that_of_one_process(project, forked):
    project.model |= {"save_predictions": True, "epochs": 3, "eval_steps": 7, "learning_rate": 0.02}
    project.model |= {"save_best_only": False, "state_steps": None}
    if TRACKED:
        project.model |= {"tracker": "tensorboard", "tracker_steps": 4}
    assert project.run() == 0
    home, before = project.folder / HOME, project.folder / "before"
    expected = result_of(project)
    os.rename(project.folder / "checkpoints", before)
    before /= "toy/toy_test"
    for ranks in (2, 3):
        # The cache is built anew by the first rank, and the others find it; then by all.
        os.rename(project.folder / "data", project.folder / f"data_before_{ranks}")
        project.model["build_together"] = ranks == 3
        project.write()
        said = ends(forked, [0] * ranks, ranks=ranks)
        assert said.count("Built the cache") == 1
        assert said.count("Start training") == 1
        assert (forked.folder / "stdout").read_text().count("valid") == 3
        assert names_in(home) == names_in(before)
        result = result_of(project)
        for key in VARYING:
            result[key] = expected[key]
        close(result, expected)
        if TRACKED:
            assert len(list((home / "tensorboard").iterdir())) == 1
            # Gates are over the rows of the first rank.
            of_all, of_one = (
                {name: x for name, x in figures.items() if not name.startswith("gate/")}
                for figures in map(not_measured, map(in_tensorboard, (home, before)))
            )
            assert of_all.keys() == of_one.keys()
            for name, values in of_one.items():
                tolerance = 2e-2 if "AUC" in name else 1e-4
                assert of_all[name] == pytest.approx(values, rel=1e-3, abs=tolerance), name
        for name in WEIGHTS:
            after, weights = load_file(home / name), load_file(before / name)
            assert after.keys() == weights.keys()
            for key, weight in weights.items():
                torch.testing.assert_close(after[key], weight, rtol=1e-3, atol=1e-4, msg=key)
        for name in TABLES:
            after, table = (pl.read_parquet(folder / name) for folder in (home, before))
            predicted = [column for column in table.columns if column.endswith("_pred")]
            assert len(predicted) == 2
            assert after.drop(predicted).equals(table.drop(predicted))
            difference = after[predicted].to_numpy() - table[predicted].to_numpy()
            assert np.max(np.abs(difference)) < 1e-4
        after, run = (json.loads((folder / "run.json").read_text()) for folder in (home, before))
        assert after.keys() == run.keys()
        lines = (project.folder / "config.csv").read_text().splitlines()
        assert len(lines) == ranks


def test_a_mistake_on_one_rank_or_on_all_is_one_message(project, forked):
    for rank in "01":
        said = ends(forked, [2, 2], WRONG_RANK=rank)
        assert said.count("error: ") == said.count("The file of this rank is not there.") == 1
    project.model["optimizer"] = "SGD"
    project.write()
    said = ends(forked, [2, 2])
    assert (
        said.count("error: ")
        == said.count("optimizer: several processes train only with adam")
        == 1
    )
    assert not (forked.folder / HOME / "result.json").exists()


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_others_with_its_name(forked):
    run = forked.start(ANSWER_SECONDS="5", AT_STEP="5 1 SIGSTOP")
    run.ranks[0].join(100)
    run.ranks[1].kill()
    said = forked.end(run)
    assert run.exit_codes == [2, KILLED]
    assert said.count("error: ") == 1
    assert "error: Rank 1 of 2 (counted from 0) has ended without a message, or did not" in said


def test_ranks_whose_torchrun_has_died_end_with_one_message(project, forked):
    project.model |= {"epochs": 100_000, "early_stop_patience": 100_000}
    project.write()
    run = forked.start()
    forked.wait_for("Epoch 2", run)
    run.drop_store()
    said = forked.end(run)
    assert run.exit_codes == [2, 2]
    assert said.count("error: ") == 1
    assert "error: torchrun, which has started this process, has ended" in said
