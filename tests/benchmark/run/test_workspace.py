"""What each run of a benchmark is started with."""

from pathlib import Path

import pytest

from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.benchmark.run.workspace import Workspace
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
    workspace = Workspace(plan, Path("config"), Path("out"), {})
    (spec, *_) = plan.wanted({}, {})
    settings = workspace.settings(spec)
    assert settings["tracker_group"] == "out"
    assert settings["tracker"] == tracker
    benchmark.settings[spec.expid].pop("tracker")
    assert plan.spec(spec.expid, spec.seed, spec.trial).key == spec.key
