"""A project with a small benchmark, and a finished one of five models."""

import pytest

from fuxictr_stem.benchmark import run_benchmark
from tests.support.benchmark_project import make_project
from tests.support.finished_benchmarks import make_benchmark


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Three models on the toy data; the current folder is the project's."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave out what a small benchmark spends most of its time on; another test has the pictures."""
    for name in ("analyse", "write_report"):
        monkeypatch.setattr(run_benchmark, name, lambda *_: None)


@pytest.fixture(scope="session")
def five_models(tmp_path_factory):
    """A finished benchmark, which nobody changes: the best differs by task, and one model lacks a task."""
    noises = {"MMoE": 1.3, "STEMNet": 0.9, "SingleTask": 1.2, "PLE": 1.0, "ESMM": 0.1}
    return make_benchmark(tmp_path_factory.mktemp("runs"), noises, lacking=[("ESMM", "like")])
