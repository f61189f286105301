"""A finished run is opened from its folder alone, ready to score, or says what is wrong with it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import fuxictr_stem
from fuxictr_stem.errors import DataError
from tests.support.served import assert_same, without_labels


@pytest.mark.slow
def test_nothing_but_the_folder_is_read(finished, tmp_path):
    """In a process of its own, with another current folder."""
    without_labels(finished).write_parquet(tmp_path / "new.parquet")
    code = (
        "import sys, time, fuxictr_stem\n"
        "assert 'torch' not in sys.modules and 'polars' not in sys.modules\n"
        f"run = fuxictr_stem.load({str(finished.folder)!r})\n"
        f"run.predict({str(tmp_path / 'new.parquet')!r}).write_parquet('alone.parquet')\n"
        "print([m for m in ('ray', 'sklearn', 'fuxictr.preprocess') if m in sys.modules])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert_same(pl.read_parquet("alone.parquet"), finished)


def test_a_run_loads_in_evaluation_mode_and_leaves_random_numbers_alone(finished):
    import torch

    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    run = fuxictr_stem.load(str(finished.folder))
    assert torch.rand(1) == expected
    assert not run.model.training
    assert run.tasks == dict.fromkeys(["like", "view"], "binary_classification")
    assert run.params["model"] == "STEMNet"


def test_a_folder_that_is_no_finished_run_says_why(finished, tmp_path):
    cases = [
        ("nowhere", "no such folder"),
        (".", "Did you mean run"),
    ]
    for name, words in cases:
        with pytest.raises(DataError, match=words):
            fuxictr_stem.load(name)
    for name, words in [
        ("run.json", "has no run.json"),
        ("result.json", "Finish the run with --resume"),
        ("encoder/encoder.json", "encoder.json"),
        ("feature_map.json", "feature_map.json"),
        ("model.safetensors", "model.safetensors"),
    ]:
        shutil.copytree(finished.folder, "copy")
        (tmp_path / "copy" / name).unlink()
        with pytest.raises(DataError, match=words):
            fuxictr_stem.load("copy")
        shutil.rmtree("copy")
    shutil.copytree(finished.folder, "copy")
    content = json.loads((tmp_path / "copy" / "feature_map.json").read_text())
    (tmp_path / "copy" / "feature_map.json").write_text(
        json.dumps({**content, "dataset_id": "other"})
    )
    with pytest.raises(DataError, match=r"feature_map.json"):
        fuxictr_stem.load("copy")
