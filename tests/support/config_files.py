"""A small valid config, and ways to break it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from fuxictr_stem.config.dataset_config import load_dataset
from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.errors import ConfigError

REMOVE = object()

EXPERIMENT: dict[str, Any] = {"model": "Net", "dataset_id": "toy", "num_experts": 2}

DATASET: dict[str, Any] = {
    "train_data": "train.csv",
    "valid_data": "valid.csv",
    "feature_cols": [
        {"name": ["user", "item"], "dtype": "str", "type": "categorical"},
        {"name": "price", "dtype": "float", "type": "numeric", "normalizer": "MinMaxScaler"},
        {"name": "history", "dtype": "str", "type": "sequence", "share_embedding": "item"},
        {"name": "city", "dtype": "int", "type": "categorical", "active": False},
        {"name": "session", "dtype": "int", "type": "meta"},
    ],
    "label_col": [{"name": "click", "dtype": "float"}, {"name": "buy", "dtype": "float"}],
}


class Net:
    """Takes what a multi-task model of this package may take."""

    def __init__(
        self,
        feature_map,
        num_experts=1,
        expert_hidden_units=(8, 4),
        tower_hidden_units=(4, 4),
        hidden_activations="ReLU",
        net_dropout=0.0,
        batch_norm=False,
        gate_input="task_plus_shared",
        isolate_shared_gate=True,
        **params,
    ):
        """Take parameters and do nothing."""


class Child(Net):
    """Reaches the parameters of its parent, and has some of kinds that nobody told."""

    def __init__(self, feature_map, flavour, depth=1, **params):
        """Take parameters and do nothing."""


class Closed(Net):
    """Does not reach the parameters of its parent."""

    def __init__(self, feature_map, gpu=-1, depth=1):
        """Take parameters and do nothing."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with changes; those to REMOVE are left out."""
    both = {**copy.deepcopy(base), **changes}
    return {key: value for key, value in both.items() if value is not REMOVE}


def write(
    folder: Path,
    experiment: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    base: dict[str, Any] | None = None,
) -> Path:
    """Write the small config with changes."""
    models = {"exp": merged(EXPERIMENT, experiment or {})}
    if base is not None:
        models["Base"] = base
    for kind, content in (("model", models), ("dataset", {"toy": merged(DATASET, dataset or {})})):
        text = yaml.safe_dump(content, allow_unicode=True)
        (folder / f"{kind}_config.yaml").write_text(text, encoding="utf-8")
    return folder


def load(folder: Path, experiment=None, dataset=None, base=None) -> dict[str, Any]:
    """Load the small config with changes."""
    return load_experiment(write(folder, experiment, dataset, base), "exp")


def problems(folder: Path, experiment=None, dataset=None, base=None) -> list[str]:
    """Return the problems that the changes make."""
    with pytest.raises(ConfigError) as caught:
        load(folder, experiment, dataset, base)
    head, *lines = str(caught.value).split("\n- ")
    count = int(head.split("Experiment 'exp': ")[1].split(" problem")[0])
    assert count == len(lines), "a problem's text breaks the list"
    return lines


def columns(*changes: dict[str, Any]) -> dict[str, Any]:
    """A dataset of some more columns after those of the small config."""
    return {"feature_cols": [*copy.deepcopy(DATASET["feature_cols"]), *changes]}


def column(**changes: Any) -> dict[str, Any]:
    """A dataset with one more column."""
    plain = {"name": "x", "dtype": "str", "type": "categorical"}
    return columns({key: v for key, v in {**plain, **changes}.items() if v is not REMOVE})


def check_problem_of_dataset(folder: Path, changes: dict[str, Any], message: str) -> None:
    """Check that the changes make one problem, and what the dataset's message says of it."""
    assert len(problems(folder, dataset=changes)) == 1
    with pytest.raises(ConfigError, match=message) as caught:
        load_dataset(folder, "toy")
    assert str(caught.value).startswith("Dataset 'toy': 1 problem in the configuration.\n- ")


def check_problem_of_experiment(folder: Path, changes: dict[Any, Any], message: str) -> None:
    """Check that the changes make one problem, and what the experiment's message says of it."""
    assert len(problems(folder, changes)) == 1
    with pytest.raises(ConfigError, match=message):
        load_experiment(folder, "exp")


def more_labels(*entries: dict[str, Any]) -> dict[str, Any]:
    """A dataset of some more labels after those of the small config."""
    return {"label_col": [*copy.deepcopy(DATASET["label_col"]), *entries]}


def both(name="click_buy", pair="click, buy", **more) -> dict[str, Any]:
    """A label that is 1 where two others are."""
    return {"name": name, "dtype": "float", "preprocess": f"both({pair})", **more}
