"""Mappings read key by key: what is wrong, and the next step."""

from __future__ import annotations

import pytest
import yaml

from fuxictr_stem import registry
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import Net, write


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


def test_numbers_that_yaml_takes_for_text(tmp_path):
    write(tmp_path)
    for text in ("1e-6", "2.5e3", "1e5", ".5e3", "1E-4", "+1e2", "-3e-2"):
        (tmp_path / "model_config.yaml").write_text(
            f"exp: {{model: Net, dataset_id: toy, learning_rate: {text}}}"
        )
        with pytest.raises(ConfigError, match="YAML reads") as caught:
            load_experiment(tmp_path, "exp")
        written = str(caught.value).split(": write ")[1].rstrip(".")
        assert yaml.safe_load(written) == float(text)
