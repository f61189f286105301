"""A run that is killed and resumed is one run in its trackers, with each step once."""

import importlib.util
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from fuxictr_stem.training.trackers.wandb_tracker import history
from tests.support.kills import left_by
from tests.support.processes import CONTEXT, SECONDS
from tests.support.project import Project
from tests.support.trackers import in_tensorboard, not_measured

pytestmark = pytest.mark.slow

NEEDS = {"tensorboard": ["tensorboard"], "mlflow": ["mlflow", "sqlalchemy"], "wandb": ["wandb"]}
CHOSEN = [
    name for name, needs in NEEDS.items() if all(importlib.util.find_spec(need) for need in needs)
]


def _run(folder, trackers, die_at):
    os.chdir(folder)
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_EXPERIMENT_NAME": "killed",
        "WANDB_MODE": "offline",
    }
    # The wandb of another test's process may still hold the killed run, which then cannot go on.
    os.environ.pop("WANDB_SERVICE", None)
    from fuxictr_stem.models import STEMNet
    from fuxictr_stem.training.trackers import delivery

    delivery.BETWEEN_SECONDS = 0.01
    take, steps = STEMNet.train_step, 0

    def train_step(model, columns):
        nonlocal steps
        steps += 1
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return take(model, columns)

    STEMNet.train_step = train_step
    project = Project(Path(folder))
    # A state after every fifth step; points after every third, and every fourth, with an evaluation.
    project.model |= {"epochs": 3, "eval_steps": 4, "state_steps": 5, "early_stop_patience": 9}
    project.model |= {"tracker": trackers or None, "tracker_steps": 3, "save_predictions": True}
    code = project.run("--resume")
    multiprocessing.util._exit_function()
    os._exit(code)


def run(folder, trackers=CHOSEN, die_at=None):
    process = CONTEXT.Process(target=_run, args=(str(folder), trackers, die_at))
    process.start()
    process.join(SECONDS)
    assert process.exitcode == (0 if die_at is None else -signal.SIGKILL)


def in_mlflow(folder, monkeypatch):
    """The figures of the only run, by step, each once; its result and its status."""
    from mlflow import MlflowClient

    monkeypatch.chdir(folder)
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (made,) = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    figures = {}
    for name in made.data.metrics:
        points = client.get_metric_history(made.info.run_id, name)
        figures[name] = {point.step: point.value for point in points}
        assert len(figures[name]) == len(points), (name, points)
    (artifact,) = client.list_artifacts(made.info.run_id)
    assert artifact.path == "result.json"
    assert made.data.params["learning_rate"] == "0.01"
    return figures, made.info.status


def in_wandb(folder):
    """The figures of the only run, by step, each once."""
    figures, ids = {}, set()
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        ids.add(file.stem)
        for step, values in history(file):
            for name, value in values.items():
                if not name.startswith("_"):
                    assert step not in figures.setdefault(name, {}), (name, step)
                    figures[name][step] = json.loads(value)
    assert len(ids) == 1
    return figures


def of_training(figures):
    """The figures that a seed repeats, without the test metrics, which are no figures of wandb's."""
    figures = not_measured(figures)
    return {name: x for name, x in figures.items() if not name.startswith("test/")}


def test_a_killed_run_goes_on_in_its_trackers(tmp_path, monkeypatch):
    if not CHOSEN:
        pytest.skip("none of TensorBoard, MLflow with SQLAlchemy, and wandb is installed")
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    for folder in (plain, killed):
        folder.mkdir()
    run(plain, trackers=[])
    # In step 14, after a state at 10 and points at 12 that it does not know; then to the end.
    for die_at in (14, None):
        run(killed, die_at=die_at)
    left = left_by(killed)
    left["files"] = [name for name in left["files"] if name not in CHOSEN]
    # The same numbers, weights and predictions to the last bit, tracked and killed or neither.
    assert left == left_by(plain)

    result = left["result"]
    steps = [*range(3, 31, 3)]
    home = killed / "checkpoints" / "toy" / "toy_test"
    seen = []
    if "tensorboard" in CHOSEN:
        figures = in_tensorboard(home)
        assert figures["test/like_AUC"] == {30: pytest.approx(result["test"]["like_AUC"])}
        seen.append(figures)
    if "mlflow" in CHOSEN:
        figures, status = in_mlflow(killed, monkeypatch)
        assert status == "FINISHED"
        assert figures["test/like_AUC"] == {30: result["test"]["like_AUC"]}
        seen.append(figures)
    if "wandb" in CHOSEN:
        seen.append(in_wandb(home))
    for figures in seen:
        assert sorted(figures["train/loss"]) == sorted({*steps, *range(4, 31, 4)})
        for record in result["evaluations"]:
            assert figures["valid/like_AUC"][record["step"]] == pytest.approx(
                record["valid"]["like_AUC"]
            )
        assert len(figures["gate/layer_1/like/view.1"]) == len(result["evaluations"])
    # TensorBoard has single precision.
    for figures in seen[1:]:
        assert of_training(figures).keys() == of_training(seen[0]).keys()
        for name, values in of_training(figures).items():
            assert values == pytest.approx(seen[0][name], rel=1e-6), name
