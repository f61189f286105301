"""Benchmarks drawn from a known world, in memory: users, seeds and models whose quality is known."""

from dataclasses import dataclass, field

import numpy as np

from fuxictr_stem.benchmark.score.finished_runs import (
    FinishedBenchmark,
    Run,
    TaskPredictions,
    TrainedModel,
)
from fuxictr_stem.metrics import auc, logloss

PARAMS = {"dense": 1, "embedding": 1}
COST = {"params": PARAMS, "epochs": 1, "seconds": {"train": 1.0}, "samples_per_second": 1.0}


@dataclass(frozen=True)
class Simulated(TrainedModel):
    """A model whose predictions were never written."""

    made: dict[str, TaskPredictions] = field(default_factory=dict)

    def predictions(self, label):
        return self.made[label]


class Split:
    """Users with chances of their own; what is hard to rank is so for some users more than others."""

    def __init__(self, rng, users, rows_of_user):
        self.rng = rng
        self.user = np.repeat(np.arange(users), rows_of_user)
        self.logit = rng.normal(0, 1, len(self.user)) + rng.normal(0, 0.5, users)[self.user]
        self.blur = rng.uniform(0.5, 1.5, users)[self.user]
        self.y_true = (rng.random(len(self.user)) < _sigmoid(self.logit)).astype("float32")
        self.row = np.arange(len(self.user))

    def predict(self, noise):
        """Return predictions, worse for users who are hard; noise is the model's with one seed."""
        blurred = self.logit + noise * self.blur * self.rng.normal(size=len(self.user))
        return _sigmoid(blurred).astype("float32")


def quality_of_seed(rng, noise, spread):
    """Return how noisy one training of a model is."""
    return noise * np.exp(spread * rng.normal())


def simulate(rng, noises, seeds, users=25, rows_of_user=8, labels=("click", "like"), spread=0.15):
    """Return a benchmark; a seed that is good on valid is good on test, as with one set of weights.

    Args:
        rng: The source of all chance.
        noises: By model how much its predictions are blurred.
        seeds: Number of seeds.
        users: Users of each split.
        rows_of_user: Rows of each user.
        labels: The tasks.
        spread: Deviation over seeds of the logarithm of the noise.
    """
    splits = {label: [Split(rng, users, rows_of_user) for _ in range(2)] for label in labels}
    models = {}
    for name, noise in noises.items():
        for seed in range(seeds):
            made, figures = {}, {"valid": {}, "test": {}}
            for label, (valid, test) in splits.items():
                own = quality_of_seed(rng, noise, spread)
                for part, split in (("valid", valid), ("test", test)):
                    y_pred = split.predict(own)
                    figures[part][f"{label}_AUC"] = auc(split.y_true, y_pred)
                    figures[part][f"{label}_logloss"] = logloss(split.y_true, y_pred)
                made[label] = TaskPredictions(test.y_true, y_pred, test.user, test.row)
            result = {**figures, **COST, "peak_rss_bytes": 1}
            run = Run(name, seed, {}, list(labels), result, None)
            models.setdefault(name, {})[seed] = Simulated([run], made)
    return FinishedBenchmark(
        name="simulated",
        dataset_id="toy",
        labels=list(labels),
        metrics=["AUC", "logloss"],
        seeds=list(range(seeds)),
        models=models,
        single_task="SingleTask",
        proposed=["STEMNet"] if "STEMNet" in noises else [],
    )


def _sigmoid(logit):
    return 1 / (1 + np.exp(-logit))
