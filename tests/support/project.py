"""A small experiment in a folder of its own, for tests that run the command line."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from fuxictr_stem.cli import main

MODEL = {
    "model": "STEMNet",
    "dataset_id": "toy",
    "task": "binary_classification",
    "loss": "binary_crossentropy",
    "metrics": ["logloss", "AUC", "gAUC"],
    "learning_rate": 0.01,
    "batch_size": 64,
    "epochs": 2,
    "embedding_dim": 4,
    "num_shared_experts": 2,
    "expert_hidden_units": [8],
    "gate_hidden_units": [4],
    "tower_hidden_units": [4],
}


def toy_rows(rows: int, seed: int) -> pl.DataFrame:
    """Rows whose labels depend on user and item, so that a model can learn something."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 20, rows), rng.integers(0, 15, rows)
    like = (user % 4 + item % 5 > 4) ^ (rng.random(rows) < 0.1)
    view = (user % 5 + item % 3 < 3) ^ (rng.random(rows) < 0.1)
    return pl.DataFrame(
        {
            "user": [f"u{i}" for i in user],
            "item": [f"i{i}" for i in item],
            "age": rng.normal(size=rows).round(3),
            "like": like.astype(int),
            "view": view.astype(int),
        }
    )


class Project:
    """Configs and data in a folder; `run` is the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = dict(MODEL)
        self.experiments: dict[str, dict] = {}
        self.dataset = {
            "data_root": "./data/",
            "data_format": "csv",
            "min_categr_count": 1,
            **{f"{split}_data": f"./{split}.csv" for split in ("train", "valid", "test")},
            "feature_cols": [
                {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
                {"name": "age", "active": True, "dtype": "float", "type": "numeric"},
            ],
            "label_col": [{"name": "like", "dtype": "float"}, {"name": "view", "dtype": "float"}],
            "group_id": "user",
        }
        self.frames = {
            split: toy_rows(rows, seed)
            for seed, (split, rows) in enumerate({"train": 600, "valid": 200, "test": 200}.items())
        }

    def write(self) -> None:
        self.write_configs()
        for split, frame in self.frames.items():
            frame.write_csv(self.folder / f"{split}.csv")

    def write_configs(self) -> None:
        for part in ("model_config", "dataset_config"):
            (self.folder / "config" / part).mkdir(parents=True, exist_ok=True)
        experiments = {"Base": {"verbose": 0}, "toy_test": self.model, **self.experiments}
        config = self.folder / "config"
        (config / "model_config" / "toy.yaml").write_text(
            yaml.safe_dump(experiments, sort_keys=False)
        )
        (config / "dataset_config" / "toy.yaml").write_text(yaml.safe_dump({"toy": self.dataset}))

    def run(self, *more: str, expid: str = "toy_test") -> int:
        """Write everything and run the experiment; the current folder must be the project's."""
        self.write()
        return main(["run", "--expid", expid, "--config", "config", *more])


def result_of(project: Project, expid: str = "toy_test", dataset: str = "toy") -> dict:
    """Read a run's result, which must be strict JSON."""
    path = project.folder / "checkpoints" / dataset / expid / "result.json"
    return json.loads(path.read_text(), parse_constant=pytest.fail)
