"""A project with a small benchmark: three models on the toy data."""

import json
from pathlib import Path
from types import SimpleNamespace

import yaml

from fuxictr_stem.benchmark.run.benchmark_config import load_benchmark
from fuxictr_stem.benchmark.run.plan import Plan
from fuxictr_stem.cli import main
from tests.support.project import Project

BENCHMARK = {
    "dataset_id": "toy",
    "experiments": "*_toy",
    "single_task": "Single_toy_*",
    "proposed": "STEMNet_toy",
    "seeds": [1, 2],
    "settings": {"epochs": 1, "num_shared_experts": 1},
    "search": {"learning_rate": [0.01, 0.001]},
    "resamples": 100,
    "slices": {"labels": ["like", "view"], "quantiles": [0.3, 0.7]},
}


def make_project(folder):
    made = Project(folder)
    bottom = {**made.model, "model": "SharedBottom", "bottom_hidden_units": [8]}
    for key in ("num_shared_experts", "expert_hidden_units", "gate_hidden_units"):
        del bottom[key]
    made.experiments = {
        "STEMNet_toy": dict(made.model),
        "SharedBottom_toy": bottom,
        "Single_toy_like": {**bottom, "task_labels": ["like"]},
        "Single_toy_view": {**bottom, "task_labels": ["view"]},
    }
    made.benchmark = dict(BENCHMARK)
    return made


def write(project):
    project.write()
    folder = project.folder / "config" / "benchmark"
    folder.mkdir(exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(project.benchmark))
    return path


def load(project):
    return load_benchmark(write(project), Path("config"))


def make_plan(benchmark, versions=(), folder=Path("out"), data=(), **more):
    """Return the plan of a loaded benchmark; ``data`` are fingerprints by experiment, if any differs."""
    caches = {
        expid: SimpleNamespace(folder=Path(dict(data).get(expid, "data")), rows={"test": 200})
        for expid in benchmark.experiments
    }
    return Plan(benchmark, caches, dict(versions), Path("config"), folder, **more)


def run(project, *more):
    return main(["benchmark", "--config", str(write(project)), "--out", "out", *more])


def tables(folder=Path("out")):
    """The leaderboard's quality: what must not depend on how often the benchmark was started."""
    models = json.loads((folder / "leaderboard.json").read_text())["models"]
    return {model["model"]: model["tasks"] for model in models}
