"""What each run of a benchmark is started with."""

from pathlib import Path

import pytest
from fuxictr_stem.benchmark.run.execute import Workspace, _job

from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.runtime.memory import Share
from tests.support.benchmark_project import BENCHMARK, load, make_project


@pytest.mark.parametrize("tracker", [None, "tensorboard"])
def test_the_runs_are_one_group_of_their_trackers_and_the_same_runs_without(
    tracker, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path)
    project.benchmark["settings"] = {**BENCHMARK["settings"], "tracker": tracker}
    project.model["tracker_group"] = "mine"
    benchmark = load(project)
    data = dict.fromkeys(benchmark.experiments, "0")
    plan = Plan(benchmark, data, {"fuxictr_stem": "1"})
    workspace = Workspace(Path("config"), Path("out"), benchmark, {}, -1)
    (spec, *_) = plan.wanted({}, {})
    job, _ = _job(spec, workspace, Share())
    assert job["overrides"]["tracker_group"] == "out"
    assert job["overrides"]["tracker"] == tracker
    benchmark.settings[spec.expid].pop("tracker")
    assert plan.spec(spec.expid, spec.seed, spec.trial).key == spec.key
