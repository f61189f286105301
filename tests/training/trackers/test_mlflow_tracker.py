"""MLflow: what a server gets of runs, and a server that is not there."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from fuxictr_stem.training.trackers import delivery
from tests.support.project import result_of
from tests.support.trackers import in_tensorboard


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_a_server_that_is_not_there_is_a_warning(project, capfd, monkeypatch):
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    project.model |= {"tracker": ["mlflow", "tensorboard"], "tracker_steps": 5}
    assert project.run() == 0
    said = capfd.readouterr().err
    assert said.count("WARNING Tracker mlflow: ") == 1
    assert "The run continues without it." in said
    # The other one has everything.
    figures = in_tensorboard(project.folder / "checkpoints" / "toy" / "toy_test")
    assert list(figures["train/loss"]) == [5, 10, 15, 20]
    result = result_of(project)
    assert figures["test/AUC"] == {20: pytest.approx(result["test"]["AUC"])}
    assert "tracker" not in result["settings"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an MLflow server: its own program, with a database of its own."""
    needs = ("sqlalchemy", "alembic", "cryptography", "flask", "flask_cors", "graphene", "aiohttp")
    for module in ("mlflow", *needs):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"MLflow's server needs {module}, which is not installed")
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    # Jobs would need more packages.
    off = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **off}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.mark.slow
def test_an_mlflow_server_takes_runs_of_a_group_and_one_that_goes_on(
    server, toy, monkeypatch, capfd
):
    from mlflow import MlflowClient

    from tests.support.crashes import Crash

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setattr(delivery, "BETWEEN_SECONDS", 0.01)
    settings = {"tracker": "mlflow", "tracker_group": "some runs", "tracker_steps": 3}
    done = toy("done", **settings, state_steps=5, loss_weight="UW")
    assert done.run() == 0
    broken = toy("broken", **settings, state_steps=5, loss_weight="UW", seed=7)
    with pytest.raises(Crash):
        broken.run(crash_at=14)
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("some runs").experiment_id
    statuses = {run.info.run_name: run.info.status for run in client.search_runs([experiment])}
    assert statuses == {"toy_test, seed 2023": "FINISHED", "toy_test, seed 7": "FAILED"}
    assert broken.run("--resume") == 0
    runs = client.search_runs([experiment])
    assert len(runs) == 2
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.params["loss_weight"] == "UW"
        assert int(run.data.params["params_dense"]) > 100
        for name in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, name)
            steps = sorted({3, 4, 6, 8, 9, 12, 15, 16, 18, 20})
            if name.startswith(("valid/", "gate/")):
                steps = [4, 8, 12, 16, 20]
            elif name.startswith("test/"):
                steps = [20]
            assert [point.step for point in points] == steps, name
        names = set(run.data.metrics)
        assert {"train/like_loss", "weight/like", "gate/layer_1/view/shared.2"} <= names
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["result.json"]
    # Nothing of the client's on standard output.
    assert "http" not in capfd.readouterr().out
