"""Problems are listed once, with all their places."""

from __future__ import annotations

import pytest
import yaml

from fuxictr_stem import registry
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.errors import ConfigError
from tests.support.config_files import EXPERIMENT, Net, columns, merged, problems, write


@pytest.fixture(autouse=True)
def _fake_model(monkeypatch):
    monkeypatch.setattr(registry, "get_model", lambda name: Net)


def test_a_problem_of_a_shared_anchor_is_reported_once(tmp_path):
    names = [f"c{i}" for i in range(15)]
    shared = {"dtype": "str", "type": "sequence", "splitter": 3}
    entries = [{"name": name, **shared} for name in names]
    (line,) = problems(tmp_path, dataset=columns(*entries))
    assert "(c0).splitter and 14 more places (" in line
    assert "(c14).splitter): must be text of at least one character, found 3." in line


def test_a_problem_in_a_base_is_reported_once_for_all_experiments(tmp_path):
    ids = [f"exp{i}" for i in range(15)]
    experiments = {name: merged(EXPERIMENT, {"learning_rate": "fast"}) for name in ids}
    write(tmp_path)
    (tmp_path / "model_config.yaml").write_text(
        yaml.safe_dump({**experiments, "Base": {"patience": 2}})
    )
    collected = Problems()
    for name in ids:
        with pytest.raises(ConfigError) as caught:
            load_experiment(tmp_path, name)
        collected.add_error("experiments", caught.value)
    with pytest.raises(ConfigError) as caught:
        collected.raise_any("Benchmark")
    head, *lines = str(caught.value).split("\n- ")
    assert head == "Benchmark: 2 problems in the configuration."
    assert len(lines) == 2
    assert "exp0.learning_rate and 14 more places (" in str(lines)
    assert "Base.patience: is an old name" in str(lines)
