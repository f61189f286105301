"""A project with a small benchmark."""

import pytest

from fuxictr_stem.benchmark import run_benchmark
from tests.support.benchmark_project import make_project


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
