"""A tuner from its file to its best setting; the runs are made up, but for one test of real ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml

from fuxictr_stem.cli import main
from fuxictr_stem.config.experiment_config import load_experiment
from tests.support.fake_runs import DIVERGES
from tests.support.tuner_project import results

pytestmark = pytest.mark.usefixtures("root_logging")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def page():
    """Have the page be drawn; return what reads it."""
    return lambda: Path("toy_tuner/report.html").read_text()


def test_a_grid_ends_with_its_table_and_its_best_experiment(fake, page, capfd):
    assert fake.tune("--gpu", "-1", "-1") == 0
    out = capfd.readouterr().out
    assert "4 of 4 trials: 4 done" in out
    assert "--config" in out
    assert out.splitlines()[1].startswith("toy_test_003_")
    ids = fake.ids()
    assert ids[-1] == "toy_test_best"
    assert len(ids) == 5
    best = load_experiment("toy_tuner", "toy_test_best")
    assert best["learning_rate"] == 0.005
    # Each result lies where run_expid.py would put it.
    for expid in ids[:-1]:
        params = load_experiment("toy_tuner", expid)
        assert (Path("checkpoints") / params["dataset_id"] / expid / "result.json").exists()
    assert not list(Path("toy_tuner").rglob("*.tmp*"))
    names = {path.stem for path in Path("toy_tuner/figures").iterdir()}
    assert names == {"search-trials", "search-importance", "search-parallel"}
    assert page().count("data:image/png;base64,") == 3
    assert "As an experiment id: toy_test_best." in page()


def test_a_variant_that_fails_says_why_and_the_rest_finishes(fake, page, capfd):
    fake.tuner["tuner_space"] = {"learning_rate": [DIVERGES, 0.01]}
    assert fake.tune() == 0
    told = capfd.readouterr()
    assert "2 trials: 1 done, 1 failed" in told.out
    assert "it diverged" in told.err
    assert "it diverged" in page()
    fake.tuner["tuner_space"] = {"learning_rate": [DIVERGES]}
    assert fake.tune() == 2
    assert "No trial succeeded" in capfd.readouterr().err


def test_two_tuners_do_not_share_a_folder(fake, capfd):
    from filelock import FileLock

    Path("toy_tuner").mkdir()
    with FileLock("toy_tuner/.lock"):
        assert fake.tune() == 2
    assert "another tuner is writing there" in capfd.readouterr().err


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_search_in_a_range_begins_with_the_own_setting(fake, capfd, sampler):
    fake.tuner |= {"sampler": sampler, "trials": 6}
    fake.tuner["tuner_space"] = {"learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True}}
    assert fake.tune("--gpu", "-1", "-1") == 0
    assert "6 of 6 trials: 6 done" in capfd.readouterr().out
    first = results()
    own = next(expid for expid in fake.ids() if "_001_" in expid)
    assert load_experiment("toy_tuner", own)["learning_rate"] == 0.01
    # More trials go on where these ended.
    fake.tuner["trials"] = 8
    assert fake.tune() == 0
    assert len(results()) == 8
    assert {path: results()[path] for path in first} == first


KILLED = """
import os, signal
from pathlib import Path
import pytest
from fuxictr_stem.cli import main
from fuxictr_stem.tuning import execute
from tests.support import fake_runs

def work(job, log, line):
    if len(list(Path("checkpoints").rglob("result.json"))) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    fake_runs.work(job, log, line)

with pytest.MonkeyPatch.context() as patch:
    fake_runs.use(patch)
    patch.setattr(execute, "work", work)
    main(["tune", "--config", "toy_tuner.yaml"])
"""


@pytest.mark.slow
def test_a_killed_search_goes_on_with_no_trial_lost(fake, capfd):
    fake.tuner |= {"sampler": "tpe", "trials": 6}
    fake.tuner["tuner_space"] = {"learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True}}
    fake.write()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    before, ids = results(), fake.ids()
    assert (len(before), len(ids)) == (3, 4)
    assert fake.tune() == 0
    assert "6 of 6 trials: 6 done" in capfd.readouterr().out
    assert {path: results()[path] for path in before} == before
    assert fake.ids()[:4] == ids
    journal = optuna.storages.journal.JournalFileBackend("toy_tuner/study.journal")
    storage = optuna.storages.JournalStorage(journal)
    study = optuna.load_study(study_name=None, storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 6


def test_the_front_of_several_objectives_is_reported(fake, page, capfd):
    fake.tuner |= {"objectives": ["like_AUC", "view_AUC"], "sampler": "tpe", "trials": 4}
    fake.tuner["tuner_space"] = {"learning_rate": [0.01, 0.005, 0.0025, 0.00001]}
    assert fake.tune() == 0
    rows = capfd.readouterr().out.splitlines()
    assert rows[0].split()[-2:] == ["like_AUC", "view_AUC"]
    fronts = [row for row in rows if "front" in row]
    assert fronts
    assert all("1e-05" not in row for row in fronts)
    assert Path("toy_tuner/figures/search-front.png").stat().st_size > 1000
    assert "On the Pareto front of like_AUC, view_AUC" in page()


# As FuxiCTR's zoo, BARS and papers' repositories write them; the words and values are ours.
PUBLISHED = {
    "zoo": """
base_config: ./config/
base_expid: toy_test
dataset_id: toy

tuner_space:
    model_root: './checkpoints/zoo/'
    embedding_dim: 4
    expert_hidden_units: [[8, 4]]
    hidden_activations: relu
    learning_rate: [1.e-2, 5.e-3]
    net_dropout: 0
    batch_norm: False
    batch_size: 100
    seed: 2019
    metrics: [[AUC, logloss]]
    monitor: {'AUC': 1, 'logloss': -1}
    monitor_mode: 'max'
""",
    "benchmark": """
base_config: ./config/
base_expid: toy_tbd
dataset_id: toy

tuner_space:
    embedding_regularizer: [1.e-6, 0]
    net_regularizer: 0
    gate_hidden_units: [[]]
    tower_hidden_units: [[4]]
    min_categr_count: 2
    epochs: 1
    early_stop_patience: 1
""",
    "inline": """
base_expid: PLE_own
dataset_id: toy_own

model_config:
    PLE_own:
        {model: PLE, dataset_id: toy_own, task: [binary_classification, binary_classification],
         loss: [binary_crossentropy, binary_crossentropy], num_tasks: 2, metrics: [logloss, AUC],
         num_layers: 1, num_shared_experts: 1, num_specific_experts: 1, expert_hidden_units: [8],
         gate_hidden_units: [4], tower_hidden_units: [4], loss_weight: EQ, optimizer: adam,
         learning_rate: 1.e-2, batch_size: 64, embedding_dim: 4, epochs: 1, shuffle: True, seed: 1,
         monitor: AUC, monitor_mode: max, model_root: './checkpoints/', debug_mode: False}

dataset_config:
    toy_own:
        data_root: ./data/
        data_format: csv
        train_data: ./train.csv
        valid_data: ./valid.csv
        test_data: ./test.csv
        min_categr_count: 1
        feature_cols:
            - {name: [user, item], active: True, dtype: str, type: categorical}
        label_col:
            - {name: like, dtype: float}
            - {name: view, dtype: float}

tuner_space:
    num_specific_experts: [1, 2]
    expert_hidden_units: [[4]]
""",
}


@pytest.fixture
def published(project):
    """The three files, next to configs with all keys that they name."""
    project.model |= {
        **{"hidden_activations": "relu", "net_dropout": 0, "batch_norm": False, "seed": 1},
        **{"monitor_mode": "max", "model_root": "./checkpoints/", "embedding_regularizer": 0},
        **{"net_regularizer": 0, "early_stop_patience": 2, "epochs": 1},
    }
    project.experiments["toy_tbd"] = {**project.model, "dataset_id": "TBD"}
    project.write()
    for name, text in PUBLISHED.items():
        Path(f"{name}_tuner.yaml").write_text(text)
    return project


@pytest.mark.slow
def test_published_files_run_verbatim_and_go_on_after_a_kill(published, capfd):
    for name in ("zoo", "benchmark"):
        assert main(["tune", "--config", f"{name}_tuner.yaml", "--gpu", "-1", "-1"]) == 0
        assert "2 of 2 trials: 2 done" in capfd.readouterr().out
        lines = Path(f"{name}_tuner.csv").read_text().splitlines()
        ids = sorted(yaml.safe_load(Path(f"{name}_tuner/model_config.yaml").read_text()))
        assert sorted(line.split(",[")[2].split("] ")[1] for line in lines) == ids[:2]
        assert all("[val] " in line and "[test] " in line for line in lines)
    assert ids[2] == "STEMNet_toy_best"
    before = results()
    tune = ["tune", "--config", "inline_tuner.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "fuxictr_stem", *tune], stderr=subprocess.DEVNULL, env=environment
    ) as killed:
        deadline = time.monotonic() + 200
        while len(results()) == len(before):
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
    before = results()
    assert main(tune) == 0
    assert "2 of 2 trials: 2 done" in capfd.readouterr().out
    assert {path: results()[path] for path in before} == before
    # The best setting runs as it is.
    assert main(["run", "--config", "inline_tuner", "--expid", "PLE_own_best"]) == 0
