"""Is a difference between two models more than chance: over seeds, over test users, over both.

There are two sources of chance. Over the *seeds* of training: a paired t test. Over the *users*
of the test split: a paired bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap,
1993, chapters 13 and 16), in which both models are measured on the same resampled users. Neither
alone says that a model is better: two trainings of one model differ over users, and the seeds know
nothing of other users. So claims rest on both together (`seeds_and_users`), corrected for their number
(S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics
6, 1979).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import ttest_rel

from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, TaskPredictions
from fuxictr_stem.metrics.bootstrap import RATIOS, bootstrap_metric, resample_counts
from fuxictr_stem.metrics.intervals import Interval, percentile_interval, seeds_and_users

ALPHA = 0.05
LEVEL = 1 - ALPHA
RESAMPLES = 1000


def paired_t_test(values: Mapping[int, float], reference: Mapping[int, float]) -> float | None:
    """Return the two-sided p value of a paired t test over the seeds that both have, in metrics by seed.

    None with fewer than two seeds, or where all differences are the same, so that there is no spread.

    Example:
        >>> round(paired_t_test({1: 0.71, 2: 0.73, 3: 0.72}, {1: 0.70, 2: 0.71, 3: 0.70}), 3)
        0.038
    """
    seeds = [seed for seed in values if seed in reference]
    ours = np.array([values[seed] for seed in seeds])
    theirs = np.array([reference[seed] for seed in seeds])
    if len(seeds) < 2 or np.ptp(ours - theirs) <= 1e-12 * max(1.0, np.abs(theirs).max()):
        return None
    return float(ttest_rel(ours, theirs).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values of a family of tests; None, for what was not tested, does not count.

    With the m values in rising order, the i-th (from 0) becomes the largest of (m - j) p_j over
    j <= i, at most 1.

    Example:
        >>> holm([0.01, None, 0.04])
        [0.02, None, 0.04]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[place] = largest
    return adjusted


class UserBootstrap:
    """Every model's test metrics on the same resampled users.

    A model's (R,) values are computed once for each seed, task and metric, then serve all differences.
    """

    def __init__(
        self, finished: FinishedBenchmark, resamples: int = RESAMPLES, seed: int = 0
    ) -> None:
        self._values: dict[tuple[str, int, str, str], np.ndarray] = {}
        self._samples: dict[tuple[str, int, str], str] = {}
        self._users: dict[str, int] = {}
        self.users: dict[str, int] = {}
        for label in finished.labels:
            counts: dict[str, np.ndarray] = {}
            for name, run_seed, trained in finished.trained(label):
                predictions = trained.predictions(label)
                samples = self._samples[name, run_seed, label] = _fingerprint(predictions)
                if predictions.group_id is None:
                    continue
                ids, group = np.unique(predictions.group_id, return_inverse=True)
                if samples not in counts:
                    counts[samples] = resample_counts(len(ids), resamples, seed)
                    self._users[samples] = len(ids)
                    self.users.setdefault(label, len(ids))
                columns = predictions.y_true, predictions.y_pred, group, counts[samples]
                for metric in finished.metrics:
                    if metric not in RATIOS and not np.isnan(trained.metric(label, metric)):
                        values = bootstrap_metric(metric, *columns)
                        self._values[name, run_seed, label, metric] = values

    def same_samples(self, names: Sequence[str], label: str, seeds: Sequence[int]) -> bool:
        """Say whether models were tested on the same samples of a task."""
        return len({self._samples[name, seed, label] for name in names for seed in seeds}) == 1

    def intervals(
        self, pair: tuple[str, str], label: str, metric: str, differences: Mapping[int, float]
    ) -> tuple[Interval | None, Interval | None]:
        """Return two intervals of a difference between two models, observed as ``differences`` by seed.

        The first is over users, of the mean over seeds; the second over seeds and users. There is none
        where the metric cannot be resampled or users are unknown, and no second one with one seed.
        """
        seeds = list(differences)
        if (pair[0], seeds[0], label, metric) not in self._values:
            return None, None
        ours, theirs = (
            np.stack([self._values[name, seed, label, metric] for seed in seeds]) for name in pair
        )
        drawn = ours - theirs
        users = self._users[self._samples[pair[0], seeds[0], label]]
        observed = np.array(list(differences.values()))
        over_users = percentile_interval(drawn.mean(axis=0), ALPHA / 2)
        return over_users, seeds_and_users(observed, drawn, users, LEVEL)


def _fingerprint(predictions: TaskPredictions) -> str:
    digest = hashlib.blake2b()
    for column in (predictions.row, predictions.y_true, predictions.group_id):
        if column is not None:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()
