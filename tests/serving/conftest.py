"""A finished run of every kind of column, far from its data."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.finished import Finished, finish


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Train once; nobody changes what it leaves."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("finished")
    os.chdir(folder)
    try:
        return finish(folder)
    finally:
        os.chdir(before)


@pytest.fixture
def finished(_finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A copy of the run's folder at another place, with no config, data or cache near it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(_finished.folder, tmp_path / "run")
    return Finished(tmp_path / "run", _finished.frames)
