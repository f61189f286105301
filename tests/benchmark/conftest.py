"""A project with a small benchmark."""

import pytest

from tests.support.benchmark_project import make_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Three models on the toy data; the current folder is the project's."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)
