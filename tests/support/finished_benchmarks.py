"""Finished benchmarks made up for tests: results and test predictions of models of known quality."""

from pathlib import Path

import numpy as np
import polars as pl

from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, Run, TrainedModel
from fuxictr_stem.metrics import evaluate_task
from fuxictr_stem.tuning.verify_run import PREDICTIONS

METRICS = ["AUC", "gAUC", "logloss"]


class World:
    """A test split in which the chance of each task's label is known.

    A model's prediction is that chance's logit, blurred by noise: the less noise, the better.
    """

    def __init__(self, labels, rows=400, users=30, seed=0):
        rng = np.random.default_rng(seed)
        self.group = rng.integers(0, users, rows)
        self.logit = {label: rng.normal(-1, 1.5, rows) for label in labels}
        self.y_true = {
            label: (rng.random(rows) < _sigmoid(logit)).astype("float32")
            for label, logit in self.logit.items()
        }

    def run(self, folder, expid, seed, labels, noise, settings=None, cost=1.0):
        """Write a run's predictions and return it."""
        folder.mkdir(parents=True)
        rng = np.random.default_rng([seed, *expid.encode()])
        columns, test = {}, {}
        for label in labels:
            blurred = self.logit[label] + rng.normal(0, noise, len(self.group))
            columns[label] = self.y_true[label]
            columns[f"{label}_pred"] = _sigmoid(blurred).astype("float32")
            figures = evaluate_task(
                "binary_classification",
                columns[label],
                columns[f"{label}_pred"],
                METRICS,
                self.group,
            )
            test |= {f"{label}_{name}": value for name, value in figures.items()}
        pl.DataFrame({**columns, "group": self.group}).write_parquet(folder / PREDICTIONS)
        result = {
            "params": {"dense": round(1000 * cost), "embedding": round(50_000 * cost)},
            "epochs": 3,
            "valid": test,
            "test": test,
            "seconds": {"train": 30.0 * cost + seed / 10},
            "samples_per_second": 20_000.0 / cost,
            "peak_rss_bytes": round((300 + 100 * cost) * 2**20),
            "evaluations": [
                {
                    "epoch": epoch,
                    "step": 100 * epoch,
                    "train_loss": 0.5 + 0.3 / epoch + rng.normal(0, 0.01),
                    "learning_rate": 0.001,
                    "valid": {k: v - 0.03 / epoch for k, v in test.items() if k.endswith("_AUC")},
                }
                for epoch in (1, 2, 3)
            ],
        }
        return Run(expid, seed, settings or {}, list(labels), result, folder)


def make_benchmark(
    folder: Path, noises, labels=("click", "like"), seeds=(1, 2, 3), lacking=(), **world
) -> FinishedBenchmark:
    """Return a benchmark; the model called SingleTask has one run per task.

    Args:
        folder: Where the runs' files go.
        noises: How blurred each model's predictions are, by name.
        labels: The tasks.
        seeds: The seeds.
        lacking: Pairs of a model and a task that it lacks.
        world: How the test split is made.
    """
    split = World(labels, **world)
    models = {}
    for number, (name, noise) in enumerate(noises.items()):
        own = [label for label in labels if (name, label) not in lacking]
        parts = [[label] for label in own] if name == "SingleTask" else [own]
        for seed in seeds:
            runs = [
                split.run(
                    folder / f"{name}_{'_'.join(part)}_{seed}",
                    f"{name}_{'_'.join(part)}",
                    seed,
                    part,
                    noise,
                    cost=1 + number / 4,
                )
                for part in parts
            ]
            models.setdefault(name, {})[seed] = TrainedModel(runs)
    return FinishedBenchmark(
        name="small",
        dataset_id="toy",
        labels=list(labels),
        metrics=METRICS,
        seeds=list(seeds),
        models=models,
        single_task="SingleTask" if "SingleTask" in models else None,
        proposed=["STEMNet"] if "STEMNet" in models else [],
        facts={"command": "python run_benchmark.py --config small.yaml", "threads": 1},
    )


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))
