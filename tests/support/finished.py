"""A finished run of every kind of column, whose data, config and cache are gone."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from tests.support.project import Project

COUNTRIES = ["US", "DE", "IN", "BR"]


class Finished(NamedTuple):
    """The folder of a run, and the rows of each split as its files held them."""

    folder: Path
    frames: dict[str, pl.DataFrame]

    @property
    def test(self) -> pl.DataFrame:
        """The rows of test."""
        return self.frames["test"]

    def saved(self) -> pl.DataFrame:
        """The predictions of test that the run has saved."""
        return pl.read_parquet(self.folder / "predictions_test.parquet")


def with_more_columns(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Add a sequence, an author, a country and a label that some rows lack."""
    rng = np.random.default_rng(seed)
    rows = frame.height
    tags = ["^".join(f"t{i}" for i in rng.integers(0, 9, n)) for n in rng.integers(0, 5, rows)]
    country = [COUNTRIES[i] for i in np.minimum(rng.geometric(0.5, rows), 4) - 1]
    return frame.with_columns(
        tags=pl.Series(tags),
        author=pl.Series([f"a{i}" for i in rng.integers(0, 12, rows)]),
        country=pl.Series(country),
        age=pl.when(pl.Series(rng.random(rows) > 0.1)).then(pl.col("age")),
        view=pl.when(pl.Series(rng.random(rows) > 0.1)).then(pl.col("view")),
    )


def finish(folder: Path, **settings: object) -> Finished:
    """Train in a folder, remove all but the run's folder, and return it; the current folder must be it."""
    project = Project(folder)
    project.frames = {
        split: with_more_columns(frame, seed)
        for seed, (split, frame) in enumerate(project.frames.items())
    }
    vectors = np.random.default_rng(5).normal(size=(9, 6)).astype(np.float32)
    np.savez(folder / "authors.npz", key=np.array([f"a{i}" for i in range(9)]), value=vectors)
    project.dataset["feature_cols"] = [
        {"name": ["user", "item"], "active": True, "dtype": "str", "type": "categorical"},
        {"name": "age", "dtype": "float", "type": "numeric", "normalizer": "StandardScaler"},
        {"name": "tags", "dtype": "str", "type": "sequence", "splitter": "^", "max_len": 3},
        {
            "name": "author",
            "dtype": "str",
            "type": "categorical",
            "pretrained_emb": "./authors.npz",
            "pretrain_dim": 6,
            "freeze_emb": True,
        },
    ]
    project.dataset["label_col"] = [
        {"name": "like", "dtype": "float"},
        {"name": "view", "dtype": "float", "missing": float("nan")},
    ]
    project.model |= {"save_predictions": True, "batch_norm": True, **settings}
    assert project.run() == 0
    run = folder / "checkpoints" / "toy" / "toy_test"
    shutil.move(run, folder / "run")
    for path in folder.iterdir():
        if path.is_dir() and path.name != "run":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    return Finished(folder / "run", project.frames)
