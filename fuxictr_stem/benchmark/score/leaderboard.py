"""The numbers of the leaderboard: quality, differences and cost of each model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, TrainedModel
from fuxictr_stem.benchmark.score.significance import (
    ALPHA,
    RESAMPLES,
    Interval,
    UserBootstrap,
    holm,
    paired_t_test,
)
from fuxictr_stem.metrics import METRICS

SINGLE_TASK, PROPOSED, BASELINE = "single-task", "proposed", "baseline"
Reference = Literal["single_task", "baseline"]


@dataclass
class Comparison:
    """A model's difference to a reference in one metric of one task, over the seeds of both.

    P values and intervals are None where they cannot be made.
    """

    reference: str
    seeds: int  # number of seeds that both have
    difference: float  # model minus reference, the mean over those seeds
    p: float | None  # of the paired t test over seeds
    p_holm: float | None = None  # of the claim, corrected for all claims of the leaderboard
    interval: Interval | None = None  # paired bootstrap over test users
    seeds_and_users: Interval | None = None  # over seeds and test users together

    def is_better(self, metric: str) -> bool:
        """Say whether the model is better than the reference in this metric."""
        higher = METRICS[metric].higher_is_better
        return higher is not None and (self.difference > 0 if higher else self.difference < 0)

    @property
    def is_significant(self) -> bool:
        """Say whether the difference is more than chance after Holm's correction."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def claim(self) -> float | None:
        """The p value that a claim rests on: over seeds and users, or seeds where users are unknown."""
        return self.p if self.seeds_and_users is None else self.seeds_and_users.p


@dataclass
class Score:
    """A model's metric of one task."""

    values: dict[int, float]
    mean: float
    sd: float | None  # standard deviation over seeds (n - 1); None with one seed
    single_task: Comparison | None = None  # None where there is none, and for itself
    baseline: Comparison | None = None  # with the best baseline; None as above


# By model, task and metric, in the order of the tables; what a model lacks is absent.
Scores = dict[tuple[str, str, str], Score]


@dataclass(frozen=True)
class Cost:
    """What a model costs; of several runs per seed, all of them together.

    Times are those of the fastest seed: what else a machine does only makes a run slower.
    """

    runs: int  # runs per seed: one, or one per task
    dense: int  # parameters outside the embedding tables, the sum over runs
    embedding: int  # parameters of the embedding tables, the sum over runs
    seconds_per_epoch: float  # of training with its evaluations on valid, the sum over runs
    epochs: float  # epochs until training stopped, the mean over seeds and runs
    samples_per_second: float  # training samples per second that pass through all runs
    peak_mib: float  # largest resident memory in MiB, the largest over runs, the mean over seeds


@dataclass(frozen=True)
class Leaderboard:
    """All numbers of a benchmark's tables."""

    finished: FinishedBenchmark
    scores: Scores
    costs: dict[str, Cost]  # by model
    roles: dict[str, str]  # by model: ``single-task``, ``baseline`` or ``proposed``
    best_baseline: str | None  # name of the baseline that is best on valid, or None
    resamples: int
    deciding: dict[str, str] = field(default_factory=dict)  # by task the metric that is tested
    users: dict[str, int] = field(default_factory=dict)  # test users by task
    notes: list[str] = field(default_factory=list)  # what could not be compared, and why

    def scores_of(self, label: str, metric: str) -> dict[str, Score]:
        """Return the scores of the models that have one, in the order of the tables."""
        names = self.finished.names
        scores = {name: self.scores.get((name, label, metric)) for name in names}
        return {name: score for name, score in scores.items() if score is not None}

    def best(self, label: str, metric: str, role: str | None = None) -> str | None:
        """Return the model, of all or of a role, with the best mean; of equals, the first."""
        scores = self.scores_of(label, metric).items()
        means = {name: score.mean for name, score in scores if role in (None, self.roles[name])}
        return _best(means, metric)

    def tested(self, metric: str) -> list[str]:
        """Return the tasks on which differences are tested in a metric."""
        return [label for label, deciding in self.deciding.items() if deciding == metric]


def build_leaderboard(finished: FinishedBenchmark, resamples: int = RESAMPLES) -> Leaderboard:
    """Compute all numbers of the tables, with so many resamples of the test users.

    The best baseline is the model, neither single-task nor proposed, with the best mean of the first
    metric on valid, over tasks and seeds; only models that have every task count. On test it would
    be the one that test favours by chance.

    What is tested, as one family of claims: every model against the single-task one, and the proposed
    models against the best baseline, each on every task in the first metric that the task has. Baselines
    are not tested against the best of them.
    """
    keys = itertools.product(finished.names, finished.labels, finished.metrics)
    scores = {key: score for key in keys if (score := _score(finished.values(*key))) is not None}
    measured = {(label, metric) for _, label, metric in scores}
    roles = {name: _role(finished, name) for name in finished.names}
    candidates = _candidates(finished, scores, roles)
    baseline = _best(candidates, finished.metrics[0])
    deciding = {
        label: metric
        for label in finished.labels
        for metric in reversed(finished.metrics)
        if (label, metric) in measured
    }
    bootstrap = UserBootstrap(finished, resamples)
    notes = _compare(scores, finished.single_task, "single_task", bootstrap)
    notes += _compare(scores, baseline, "baseline", bootstrap)
    _test(scores, deciding, roles, len(candidates))
    return Leaderboard(
        finished=finished,
        scores=scores,
        costs={name: _cost(list(finished.models[name].values())) for name in finished.names},
        roles=roles,
        best_baseline=baseline,
        resamples=resamples,
        deciding=deciding,
        users=bootstrap.users,
        notes=list(dict.fromkeys(notes)),
    )


def _role(finished: FinishedBenchmark, name: str) -> str:
    if name == finished.single_task:
        return SINGLE_TASK
    return PROPOSED if name in finished.proposed else BASELINE


def _score(by_seed: Mapping[int, float]) -> Score | None:
    values = {seed: value for seed, value in by_seed.items() if not math.isnan(value)}
    if not values:
        return None
    array = np.array(list(values.values()))
    return Score(values, float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None)


def _best(means: Mapping[str, float], metric: str) -> str | None:
    """Return the name with the best mean; of equals, the first."""
    higher = METRICS[metric].higher_is_better
    if higher is None or not means:
        return None
    return max(means, key=lambda name: means[name] if higher else -means[name])


def _candidates(
    finished: FinishedBenchmark, scores: Scores, roles: Mapping[str, str]
) -> dict[str, float]:
    """Return the baselines that have every task, with their mean of the first metric on valid."""
    first = finished.metrics[0]
    measured = {label for _, label, metric in scores if metric == first}
    tasks = [label for label in finished.labels if label in measured]
    if METRICS[first].higher_is_better is None or not tasks:
        return {}
    means = {
        name: float(
            np.mean([[*finished.values(name, label, first, "valid").values()] for label in tasks])
        )
        for name in finished.names
        if roles[name] == BASELINE and all((name, label, first) in scores for label in tasks)
    }
    return {name: mean for name, mean in means.items() if not math.isnan(mean)}


def _compare(
    scores: Scores, reference: str | None, role: Reference, bootstrap: UserBootstrap
) -> list[str]:
    """Set each score's comparison with a reference, nothing tested yet.

    A pair that was not tested on the same samples is left out; returns a note for each such score.
    """
    notes = []
    for (name, label, metric), score in scores.items():
        other = scores.get((reference, label, metric)) if reference is not None else None
        seeds = [seed for seed in score.values if other is not None and seed in other.values]
        if name == reference or reference is None or other is None or not seeds:
            continue
        if not bootstrap.same_samples((name, reference), label, seeds):
            pair = f"{name} and {reference} are not compared on {label}"
            notes.append(f"{pair}: they were tested on different samples.")
            continue
        differences = {seed: score.values[seed] - other.values[seed] for seed in seeds}
        over_users, both = bootstrap.intervals((name, reference), label, metric, differences)
        comparison = Comparison(
            reference=reference,
            seeds=len(seeds),
            difference=float(np.mean(list(differences.values()))),
            p=paired_t_test(score.values, other.values),
            interval=over_users,
            seeds_and_users=both,
        )
        setattr(score, role, comparison)
    return notes


def _test(
    scores: Scores, deciding: Mapping[str, str], roles: Mapping[str, str], candidates: int
) -> None:
    """Set the Holm p value of every claim, as one family: the chance of any false claim is at most 5 %.

    A baseline's t test against the best baseline, the best of so many candidates, is removed.
    """
    claims: list[tuple[Comparison, float | None]] = []
    for (name, label, metric), score in scores.items():
        is_tested = metric == deciding[label]
        if score.single_task is not None and is_tested:
            claims.append((score.single_task, score.single_task.claim))
        against = score.baseline
        if against is not None and roles[name] != PROPOSED:
            against.p = None
        elif against is not None and is_tested:
            p = against.claim
            if p is not None and not against.is_better(metric):
                # Weights that are good on valid are good on test, so the best of K equal baselines is
                # above average there, and an equal model seems worse. Hence Bonferroni's correction.
                p = min(1.0, candidates * p)
            claims.append((against, p))
    adjusted = holm([p for _, p in claims])
    for (comparison, _), p_holm in zip(claims, adjusted, strict=True):
        comparison.p_holm = p_holm


def _cost(models: list[TrainedModel]) -> Cost:
    seeds = [[run.result for run in trained.runs] for trained in models]
    results = [result for of_seed in seeds for result in of_seed]
    return Cost(
        runs=len(seeds[0]),
        dense=sum(result["params"]["dense"] for result in seeds[0]),
        embedding=sum(result["params"]["embedding"] for result in seeds[0]),
        seconds_per_epoch=min(
            sum(result["seconds"]["train"] / result["epochs"] for result in of_seed)
            for of_seed in seeds
        ),
        epochs=float(np.mean([result["epochs"] for result in results])),
        samples_per_second=max(
            _joint_speed([result["samples_per_second"] for result in of_seed]) for of_seed in seeds
        ),
        peak_mib=float(
            np.mean([max(result["peak_rss_bytes"] for result in of_seed) for of_seed in seeds])
            / 2**20
        ),
    )


def _joint_speed(speeds: list[float]) -> float:
    """Return the speed at which a sample passes through all runs, one after the other."""
    return 1 / sum(1 / speed for speed in speeds) if all(speeds) else 0.0
