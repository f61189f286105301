"""The keys that a model adds to an experiment."""

from __future__ import annotations

import pytest

from fuxictr_stem import registry
from tests.support.config_files import Child, Closed, Net, load, problems

MODELS = {"Net": Net, "Child": Child, "Closed": Closed}


@pytest.fixture(autouse=True)
def _fake_models(monkeypatch):
    monkeypatch.setattr(registry, "get_model", MODELS.__getitem__)


def test_a_model_takes_its_constructors_keys(tmp_path):
    child = {"model": "Child", "flavour": ["a", 1, None], "num_experts": 3}
    assert load(tmp_path, child)["flavour"] == ["a", 1, None]
    assert "Child" not in str(load(tmp_path, {**child, "depth": "deep"})["depth"])
    (line,) = problems(tmp_path, {"model": "Child"})
    assert "exp.flavour: is missing" in line
    (line,) = problems(tmp_path, {**child, "flavour": {"a": 1}})
    assert "a list of these, found {'a': 1}" in line
    (line,) = problems(tmp_path, {"model": "Closed", "depth": 2})
    assert "exp.num_experts: is not a known key" in line
    (line,) = problems(tmp_path, {"bottom_hidden_units": [3]})
    assert "Did you mean 'tower_hidden_units'" in line
