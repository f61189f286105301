"""Runs that begin at once plan with no more memory than there is, and results do not depend on it."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from fuxictr_stem.errors import ConfigError
from fuxictr_stem.runtime import memory_shares as planned
from fuxictr_stem.runtime.memory import Share
from fuxictr_stem.runtime.memory_shares import Planned
from fuxictr_stem.training import memory_plan
from fuxictr_stem.training.memory_plan import plan_memory
from fuxictr_stem.tuning import execute
from fuxictr_stem.tuning.run_spec import RunSpec
from tests.support.processes import SECONDS, at_once, start
from tests.support.project import Project, result_of
from tests.support.small_models import categorical, feature_map

pytestmark = pytest.mark.slow

FREE = 1 << 30


@pytest.fixture
def params():
    return {
        "model": "SharedBottom",
        "model_id": "toy",
        "dataset_id": "toy",
        "gpu": -1,
        "batch_size": 16,
        "num_tasks": 2,
        "task": ["binary_classification"] * 2,
        "task_labels": ["a", "b"],
        "label_col": [{"name": "a"}, {"name": "b"}],
        "embedding_dim": 4,
        "bottom_hidden_units": [4],
        "tower_hidden_units": [4],
        "optimizer": "adam",
        "learning_rate": 0.001,
        "loss": ["binary_crossentropy"] * 2,
    }


@pytest.fixture
def fields(monkeypatch):
    monkeypatch.setattr(memory_plan, "available_bytes", lambda: FREE)
    return feature_map({"x": categorical(1000)})


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_the_shares_of_runs_that_are_started_together_fit(params, fields, jobs):
    plan = plan_memory(params, fields, Share(FREE // jobs, jobs))
    assert plan.data_budget > 0
    assert jobs * plan.host_bytes(plan.data_budget) <= FREE


def test_a_share_that_is_too_small_is_refused(params, fields):
    with pytest.raises(ConfigError, match="and 1,000 B are available"):
        plan_memory(params, fields, Share(1000, 2))


def test_runs_share_a_cuda_device(params, fields, monkeypatch):
    # Two of eight have taken their share.
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (60 << 30, 80 << 30))
    monkeypatch.setattr(memory_plan, "_estimate", lambda *args: memory_plan.Footprint(0))
    on_gpu = params | {"gpu": 0}
    assert plan_memory(on_gpu, fields, Share(None, 8)).free == 10 << 30
    assert plan_memory(on_gpu, fields, Share(None, 1)).free == 60 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (3 << 30, 80 << 30))
    assert plan_memory(on_gpu, fields, Share(None, 8)).free == 3 << 30


def plan_once(folder, count):
    """Plan as a run does, with half of what the others leave; return it when all have."""
    planned.FOLDER = folder
    plan = Planned()
    with plan.turn() as elsewhere:
        half = (FREE - elsewhere) // 2
        plan.write(half)
    until = time.monotonic() + SECONDS
    while len(list(folder.glob("*.json"))) < count and time.monotonic() < until:
        time.sleep(0.01)
    return half


def test_eight_runs_at_once_plan_with_what_the_others_leave(tmp_path):
    halves = at_once(plan_once, [(tmp_path, 8)] * 8)
    assert all(isinstance(half, int) for half in halves), halves
    # What they have taken meanwhile is free for nobody either: less was left for the later ones.
    assert sum(halves) <= FREE
    assert sorted(halves, reverse=True)[0] == FREE // 2
    assert len(set(halves)) == 8


def plan_and_die(folder):
    planned.FOLDER = folder
    plan = Planned()
    with plan.turn():
        plan.write(FREE)
        os.kill(os.getpid(), signal.SIGKILL)


def test_notes_of_killed_runs_count_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(planned, "FOLDER", tmp_path)
    process = start(plan_and_die, tmp_path)
    process.join(SECONDS)
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["bytes"] == FREE
    with Planned().turn() as elsewhere:
        assert elsewhere == 0
    assert not list(tmp_path.glob("*.json"))


def test_a_plan_counts_until_it_is_closed_and_not_for_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(planned, "FOLDER", tmp_path / "notes")
    resident = {"bytes": 500}
    monkeypatch.setattr(planned, "_resident_bytes", lambda pid: resident["bytes"])
    mine, other = Planned(), Planned()
    mine.write(1)  # without a folder, nobody knows
    for count, taken, still in ((1000, 0, 1000), (1000, 300, 700), (700, 900, 0), (50, -20, 50)):
        with mine.turn() as elsewhere:
            assert elsewhere == 0
            mine.write(count)
        resident["bytes"] = 500 + taken
        with other.turn() as elsewhere:
            assert elsewhere == still
    mine.close()
    with other.turn() as elsewhere:
        assert elsewhere == 0
    (tmp_path / "notes" / "1-dead.json").write_text("cut o")
    with other.turn() as elsewhere:
        assert elsewhere == 0, "nobody has locked it"
    assert not list((tmp_path / "notes").glob("*.json"))


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setattr(planned, "FOLDER", tmp_path / "link")
    plan = Planned()
    with plan.turn() as elsewhere:
        assert elsewhere == 0
        with pytest.raises(OSError, match="of the caller"), plan.turn():
            raise OSError("of the caller")
    assert not list((tmp_path / "theirs").iterdir())


def test_train_and_valid_do_not_both_take_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    project.model["epochs"] = 1
    assert project.run() == 0
    roomy = result_of(project)
    plans, loaders = [], []
    from fuxictr_stem import experiment

    planning, loading = experiment.plan_memory, experiment.make_loader

    def plan(*args):
        plans.append(planning(*args))
        return plans[-1]

    def load(*args):
        assert len(list(planned.FOLDER.glob("*.json"))) == 1
        loaders.append(loading(*args))
        return loaders[-1]

    monkeypatch.setattr(experiment, "plan_memory", plan)
    monkeypatch.setattr(experiment, "make_loader", load)
    assert project.run() == 0
    needs = plans[0].host_bytes(0)
    train, valid, _ = loaders
    assert train.memory_bytes > valid.memory_bytes
    # Either of the two fits, and not both.
    monkeypatch.setattr(memory_plan, "available_bytes", lambda: needs + 2 * train.memory_bytes + 2)
    del plans[:], loaders[:]
    assert project.run() == 0
    assert [loader.in_memory for loader in loaders] == [True, False, True], (
        "test comes when train is gone"
    )
    assert not list(planned.FOLDER.glob("*.json")), "the note goes with the run"
    assert {k: result_of(project)[k] for k in ("valid", "test")} == {
        k: roomy[k] for k in ("valid", "test")
    }


def test_a_benchmark_gives_each_of_its_runs_a_share(tmp_path, monkeypatch):
    jobs, made = 4, []

    class Started(Exception):
        pass

    class Context:
        def set_forkserver_preload(self, names):
            pass

        def Process(self, target, args):
            made.append(args[0])
            raise Started

    monkeypatch.setattr(execute.multiprocessing, "get_context", lambda kind: Context())
    monkeypatch.setattr(execute, "available_bytes", lambda: FREE)
    spec = RunSpec("e", 1, {}, {}, "k", tmp_path / "runs" / "k", tmp_path / "results")
    monkeypatch.setattr(execute, "_pick_up", lambda *args: [spec])
    runs = SimpleNamespace(total=1, prunes=False, threads=1)
    runs.config_dir, runs.csv_path = tmp_path, tmp_path / "runs.csv"
    with pytest.raises(Started):
        execute.execute(runs, [-1] * jobs)
    (job,) = made
    assert jobs * Share(**job["share"]).host <= FREE
    assert (
        Share(**json.loads((tmp_path / "runs" / "k" / "run.json").read_text())["share"]).runs
        == jobs
    )
