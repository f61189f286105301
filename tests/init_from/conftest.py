"""Fixtures: experiments of two days, and a look at a run before its first step."""

import pytest

from tests.support.days import Days, FirstStep


@pytest.fixture
def days(tmp_path, monkeypatch, root_logging):
    monkeypatch.chdir(tmp_path)
    return lambda **settings: Days(tmp_path, **settings)


@pytest.fixture
def first_step(monkeypatch):
    return FirstStep(monkeypatch)
