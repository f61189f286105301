"""Calls of `fit` on a small shop: their settings, results and messages."""

import json

import pytest
import yaml

from fuxictr_stem.errors import UserError

LABELS = ["click", "like"]
SMALL = {"epochs": 2, "embedding_dim": 4, "verbose": 0, "state_steps": 3}
OF_THE_PROCESS = ("seconds", "samples_per_second", "peak_rss_bytes")


def result_of(folder):
    result = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in OF_THE_PROCESS}


def message(error_kind, call, *args, **kwargs):
    with pytest.raises(error_kind) as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, UserError)
    return str(caught.value)


def configs(folder):
    """Return the experiments and the datasets of a run's configs."""
    out = folder.parents[2] / "config"
    return [
        yaml.safe_load((out / f"{kind}_config.yaml").read_text()) for kind in ("model", "dataset")
    ]
