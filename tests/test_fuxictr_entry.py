"""The drop-in entry, copied into a FuxiCTR checkout, under both engines."""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import fuxictr_stem.models
from fuxictr_stem import fuxictr_entry as drop_in
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError, DataError, TrainingError
from tests.support.datasets import SPLITS, feature, label, write_dataset

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def _write_fixture(folder):
    """Rows in the columns of FuxiCTR's tiny_mtl."""
    rng = np.random.default_rng(0)
    names = [f"categorical_{i}" for i in range(1, 17)] + [f"numerical_{i}" for i in range(1, 64)]
    for name in ("train", "test"):
        with (folder / f"{name}.csv").open("w") as file:
            writer = csv.writer(file)
            writer.writerow([*names, "click", "conversion"])
            for row in range(60):
                ids, numbers = rng.integers(0, 9, 16), rng.random(63).round(4)
                writer.writerow([*ids, *numbers, int(row % 3 == 0), int(row % 10 == 0)])


@pytest.fixture
def entry(tmp_path):
    """A checkout's folders: data/tiny_mtl, and the entry below model_zoo/multitask/."""
    data = tmp_path / "data" / "tiny_mtl"
    data.mkdir(parents=True)
    given = Path(os.environ.get("STEM_DATA", "")) / "tiny_mtl"
    if "STEM_DATA" in os.environ and given.is_dir():
        for name in ("train.csv", "test.csv"):
            shutil.copy(given / name, data / name)
    else:
        _write_fixture(data)
    folder = tmp_path / "model_zoo" / "multitask" / "STEMNet"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "model_zoo" / "multitask" / "STEMNet", folder, ignore=ignore)
    return folder


def _run(entry, *more):
    """Run the entry's script; the package is found as an installed one would be."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_DISABLE_IMPORT_WARNING": "1"}
    command = [sys.executable, "run_expid.py", "--expid", "STEMNet_test", *more]
    return subprocess.run(
        command, cwd=entry, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_copied_entry_runs(entry):
    done = _run(entry)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(
        (entry / "checkpoints" / "tiny_mtl" / "STEMNet_test" / "result.json").read_text()
    )
    assert set(result["test"]) >= {"click_AUC", "conversion_AUC", "AUC", "logloss"}
    line = (entry / "config.csv").read_text()
    assert "[exp_id] STEMNet_test,[dataset_id] tiny_mtl" in line


def test_the_copied_entry_runs_under_fuxictrs_preprocessing_loader_and_loop(entry):
    """The one test that starts Ray; with what our step adds to FuxiCTR's."""
    config = entry / "config" / "model_config.yaml"
    ours = "metrics: [logloss, AUC, NE]\n    loss_weight: DWA\n    gradient_balancing: PCGrad"
    config.write_text(config.read_text().replace("metrics: [logloss, AUC]", ours))
    done = _run(entry, "--engine", "fuxictr")
    assert done.returncode == 0, done.stderr[-3000:]
    line = (entry / "config.csv").read_text()
    assert "click_AUC" in line
    assert "conversion_NE" in line
    # What FuxiCTR's own preprocessing leaves behind shows that it was used.
    assert list((entry.parents[2] / "data" / "tiny_mtl").rglob("train.parquet"))


TUNER = """
base_config: ./config/
base_expid: STEMNet_default
dataset_id: tiny_mtl
tuner_space:
    learning_rate: [1.e-3, 1.e-2]
    min_categr_count: 2
    expert_hidden_units: [[8]]
    gate_hidden_units: [[]]
    tower_hidden_units: [[8]]
    epochs: 1
"""
# As FuxiCTR's run_param_tuner.py, which its wheel does not hold.
RUN_TUNER = """
import sys
from fuxictr import autotuner
autotuner.grid_search(autotuner.enumerate_params(sys.argv[1]), [-1], sys.argv[2])
"""


def test_fuxictrs_tuner_runs_on_the_entry(entry):
    (entry / "tuner.yaml").write_text(TUNER)
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_TUNER, "tuner.yaml", "_002_"],
        cwd=entry,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    trials = yaml.safe_load((entry / "tuner" / "model_config.yaml").read_text())
    datasets = yaml.safe_load((entry / "tuner" / "dataset_config.yaml").read_text())
    assert (len(trials), len(datasets)) == (2, 1)
    for expid, settings in trials.items():
        params = load_experiment(entry / "tuner", expid)
        assert params["dataset_id"] == settings["dataset_id"]
        assert params["learning_rate"] == settings["learning_rate"]
        assert params["min_categr_count"] == datasets[settings["dataset_id"]]["min_categr_count"]
        # What the tuner left there is the id of the dataset that it varied.
        assert datasets[settings["dataset_id"]]["dataset_id"] == "tiny_mtl"
    (tried,) = [expid for expid in trials if "_002_" in expid]
    assert f"[exp_id] {tried}," in (entry / "tuner.csv").read_text()


def test_fuxictrs_preprocessing_gets_a_folder_for_each_state_of_the_config(entry, monkeypatch):
    """FuxiCTR takes any folder with a feature map for current: here none is stale or half-made."""
    import fuxictr.preprocess

    built = []

    def build(processor, **params):
        folder = Path(processor.data_dir)
        built.append(folder)
        if (folder / "feature_map.json").exists():
            return [str(folder / f"{split}.parquet") for split in ("train", "valid", "test")]
        folder.mkdir(parents=True)
        processor.feature_map.save(processor.json_file)
        if len(built) > 1:  # the first build dies half-way
            for split in ("train", "valid", "test"):
                (folder / f"{split}.parquet").touch()
        return [str(folder / f"{split}.parquet") for split in ("train", "valid", "test")]

    monkeypatch.setattr(fuxictr.preprocess, "build_dataset", build)
    monkeypatch.chdir(entry)
    params = load_experiment("config", "STEMNet_test")
    for changes in ({}, {}, {}, {"min_categr_count": 3}):
        drop_in._build_with_fuxictr({**params, **changes})
    assert built[0] == built[1] == built[2] != built[3]
    assert (built[3] / "train.parquet").exists()


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("click", None, "label 'click' is missing in 1 row of train"),
        ("click", "2", "label 'click' has 1 row of train with a value other than 0 and 1"),
        ("numerical_1", "text", "column 'numerical_1' is not a number (float) in 1 row of train"),
        ("categorical_1", "nothing", "FuxiCTR's preprocessing stopped: IndexError"),
    ],
)
def test_fuxictrs_preprocessing_gets_no_data_that_it_would_misread(
    entry, monkeypatch, column, value, told
):
    monkeypatch.chdir(entry)
    params = load_experiment("config", "STEMNet_test")
    train = pl.read_csv(params["train_data"], infer_schema=False)
    rows = pl.int_range(pl.len()) == 3 if value != "nothing" else pl.lit(True)
    new = pl.lit(None if value == "nothing" else value, pl.String)
    train = train.with_columns(pl.when(rows).then(new).otherwise(column).alias(column))
    train.write_csv(params["train_data"])
    with pytest.raises(DataError, match=re.escape(told)):
        drop_in._build_with_fuxictr(params)


@pytest.mark.parametrize(
    ("names", "path", "told"),
    [
        (["a.csv", "_b.csv"], "tr", "tr/_b.csv"),
        (["a.csv", "sub/b.csv"], "tr/**/*.csv", "tr/a.csv"),
        (["day=1/a.csv", "day=2/a.csv"], "tr", "tr/day=1/a.csv"),
    ],
)
def test_files_that_fuxictr_would_not_read_alike(entry, monkeypatch, names, path, told):
    monkeypatch.chdir(entry)
    params = load_experiment("config", "STEMNet_test")
    for name in names:
        (entry / "tr" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(params["train_data"], entry / "tr" / name)
    with pytest.raises(ConfigError, match=f"^train_data: .* find different files .*{told}"):
        drop_in._build_with_fuxictr({**params, "train_data": path})


def test_fuxictrs_loop_stops_where_a_step_is_lost(entry, monkeypatch, root_logging):
    monkeypatch.chdir(entry)
    params = load_experiment("config", "STEMNet_test")
    params |= {"gpu": -1, "optimizer": "SGD", "learning_rate": 1e38, "batch_size": 10}
    with pytest.raises(TrainingError, match="stopped before step 2 .epoch 1, batch 2.: "):
        drop_in._run(fuxictr_stem.models, params, our_loader=True)


def test_a_mistake_in_the_entry_is_one_message(entry):
    done = _run(entry, "--gpu", "99")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "CUDA" in done.stderr


class _Checkout:
    """The source checkout's RankDataLoader: a class whose make_iterator returns the loaders."""

    made = 0

    def __init__(self, *args, **params):
        self.arguments = args, params

    def make_iterator(self):
        type(self).made += 1
        return _released(*self.arguments[0], **self.arguments[1])


@pytest.mark.parametrize("kind", ["release", "checkout"])
def test_fuxictrs_loop_on_our_loader(entry, monkeypatch, kind, root_logging):
    """In one process: with both forms of RankDataLoader, our cache and loader, FuxiCTR's fit."""
    global _released
    from fuxictr.pytorch import dataloaders

    monkeypatch.chdir(entry)
    if kind == "checkout":
        _released = dataloaders.RankDataLoader
        monkeypatch.setattr(dataloaders, "RankDataLoader", _Checkout)
    spec = importlib.util.spec_from_file_location("entry_src", entry / "src" / "__init__.py")
    model_zoo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model_zoo)
    arguments = ["--expid", "STEMNet_test", "--engine", "fuxictr", "--loader", "h5"]
    assert drop_in.main(model_zoo, arguments) == 0
    assert "conversion_AUC" in (entry / "config.csv").read_text()
    assert _Checkout.made == (2 if kind == "checkout" else 0)
    _Checkout.made = 0


def test_fuxictrs_preprocessing_reads_the_other_labels(tmp_path, monkeypatch):
    """It knows no `both`: such a label is left out, and rejected where it is trained."""
    import fuxictr.preprocess

    made = []

    def build(processor, **params):
        made.append(processor)
        raise InterruptedError

    monkeypatch.setattr(fuxictr.preprocess, "build_dataset", build)
    rows = pl.DataFrame({"cat": ["a", "a"], "click": [0.0, 1.0], "buy": [0.0, 1.0]})
    labels = [label("click"), label("buy"), label("both", preprocess="both(click, buy)")]
    params = write_dataset(tmp_path, dict.fromkeys(SPLITS, rows), [feature("cat")], labels)
    params |= {"task": ["binary_classification"] * 2, "metrics": ["AUC"], "file_locks": True}
    with pytest.raises(DataError, match="preprocessing stopped: InterruptedError"):
        drop_in._build_with_fuxictr({**params, "task_labels": ["click", "buy"]})
    assert made[0].feature_map.labels == ["click", "buy"]
    with pytest.raises(ConfigError, match="cannot combine labels to 'both'. Use --engine"):
        drop_in._build_with_fuxictr({**params, "task_labels": ["click", "both"]})
