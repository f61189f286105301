"""A project with a small tuner file, and one whose runs are made up."""

import pytest

from tests.support import fake_runs
from tests.support.tuner_project import RATES, TunerProject


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The toy data and a tuner file; the current folder is the project's."""
    monkeypatch.chdir(tmp_path)
    return TunerProject(tmp_path)


@pytest.fixture
def fake(request, project, monkeypatch):
    """The project, with made-up runs of four learning rates; the page is drawn for those who read it."""
    fake_runs.use(monkeypatch)
    if "page" not in request.fixturenames:
        page = "fuxictr_stem.benchmark.report.tuner_page.write_tuner_page"
        monkeypatch.setattr(page, lambda _: None)
    project.tuner["tuner_space"] = {"learning_rate": RATES}
    return project
