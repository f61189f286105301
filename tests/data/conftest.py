"""An installed package of preprocess functions."""

import pytest

from tests.support.preprocess_package import Package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose functions make columns."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return Package(folder)
