"""A project with a small tuner file."""

import pytest

from tests.support.tuner_project import TunerProject


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The toy data and a tuner file; the current folder is the project's."""
    monkeypatch.chdir(tmp_path)
    return TunerProject(tmp_path)
