"""The numbers of the leaderboard: quality, differences and cost of each model."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fuxictr_stem.benchmark.score.statistics import (
    ALPHA,
    RESAMPLES,
    Interval,
    UserBootstrap,
    holm,
    paired_t_test,
)
from fuxictr_stem.benchmark.score.study import Entry, Study
from fuxictr_stem.metrics import METRICS

SINGLE_TASK, PROPOSED, BASELINE = "single-task", "proposed", "baseline"


@dataclass(frozen=True)
class Comparison:
    """A model's difference to a reference in one metric of one task, over the seeds of both.

    Attributes:
        reference: Name of the other model.
        seeds: Number of seeds that both have.
        difference: Model minus reference, the mean over those seeds.
        p: P value of the paired t test over seeds; None where it cannot be made.
        p_holm: P value of the claim that the two differ, after Holm's correction over all claims of the
            leaderboard; None where none is made.
        interval: Paired bootstrap over test users; None where it cannot be made.
        seeds_and_users: Interval over seeds and test users together; None where it cannot be made.
    """

    reference: str
    seeds: int
    difference: float
    p: float | None
    p_holm: float | None = None
    interval: Interval | None = None
    seeds_and_users: Interval | None = None

    def is_better(self, metric: str) -> bool:
        """Say whether the model is better than the reference in this metric."""
        higher = higher_is_better(metric)
        return higher is not None and (self.difference > 0 if higher else self.difference < 0)

    @property
    def is_significant(self) -> bool:
        """Say whether the two are told apart after Holm's correction."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Score:
    """A model's metric of one task.

    Attributes:
        values: The metric by seed.
        mean: Mean over seeds.
        sd: Standard deviation over seeds (n - 1); None with one seed.
        single_task: Difference to the single-task model; None where there is none, and for itself.
        baseline: Difference to the best baseline; None as above.
    """

    values: dict[int, float]
    mean: float
    sd: float | None
    single_task: Comparison | None = None
    baseline: Comparison | None = None


Scores = dict[str, dict[str, dict[str, Score]]]  # by model, task and metric
Comparisons = dict[tuple[str, str, str], Comparison]  # by model, task and metric


@dataclass(frozen=True)
class Cost:
    """What a model costs; of several runs a seed, all of them together.

    Times are those of the fastest seed: what else a machine does only makes a run slower.

    Attributes:
        runs: Runs a seed: one, or one a task.
        dense: Parameters outside the embedding tables, the sum over runs.
        embedding: Parameters of the embedding tables, the sum over runs.
        seconds_per_epoch: Training time over epochs, evaluations on valid included, the sum over runs.
        epochs: Epochs until training stopped, the mean over seeds and runs.
        samples_per_second: Training samples that pass through all runs a second.
        peak_mib: Largest resident memory in MiB, the largest over runs, the mean over seeds.
    """

    runs: int
    dense: int
    embedding: int
    seconds_per_epoch: float
    epochs: float
    samples_per_second: float
    peak_mib: float


@dataclass(frozen=True)
class Leaderboard:
    """All numbers of a study's tables.

    Attributes:
        scores: What a model lacks is absent.
        costs: By model.
        roles: By model: ``single-task``, ``baseline`` or ``proposed``.
        best_baseline: Name of the baseline that is best on valid, or None.
        deciding: By task the metric in which differences are tested.
        resamples: Resamples of the bootstrap.
        users: Test users by task.
        notes: What could not be compared, and why.
    """

    scores: Scores
    costs: dict[str, Cost]
    roles: dict[str, str]
    best_baseline: str | None
    resamples: int
    deciding: dict[str, str] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def score(self, name: str, label: str, metric: str) -> Score | None:
        """Return a model's score, or None where it has none."""
        return self.scores[name].get(label, {}).get(metric)

    def each(self) -> Iterator[tuple[str, str, str, Score]]:
        """Yield model, task, metric and score, in the order of the tables."""
        for name, by_label in self.scores.items():
            for label, by_metric in by_label.items():
                for metric, score in by_metric.items():
                    yield name, label, metric, score


def higher_is_better(metric: str) -> bool | None:
    """Say whether more of a metric is better; None where it is best at a value between."""
    return METRICS[metric].higher_is_better


def better(metric: str) -> str:
    """Return which way a metric is better, as the end of a label."""
    higher = higher_is_better(metric)
    return "" if higher is None else f", {'higher' if higher else 'lower'} is better"


def best_model(
    study: Study,
    leaderboard: Leaderboard,
    label: str,
    metric: str,
    fits: Callable[[str], bool] = lambda name: True,
) -> str | None:
    """Return the model with the best mean among those that fit; of equals, the first."""
    higher = higher_is_better(metric)
    found = [(n, leaderboard.score(n, label, metric)) for n in study.names if fits(n)]
    means = {name: score.mean for name, score in found if score is not None}
    if higher is None or not means:
        return None
    return max(means, key=lambda name: means[name] if higher else -means[name])


def build_leaderboard(study: Study, resamples: int = RESAMPLES) -> Leaderboard:
    """Compute all numbers of the tables.

    The best baseline is the model, neither single-task nor proposed, with the best mean of the first
    metric on valid, over tasks and seeds; only models that have every task count. On test it would
    be the one that test favours by chance.

    What is tested, as one family of claims: every model against the single-task one, and the proposed
    models against the best baseline, each on every task in the first metric that the task has. Baselines
    are not tested against the best of them.

    Args:
        study: The finished runs.
        resamples: Resamples of the bootstrap over test users.
    """
    scores: Scores = {name: {} for name in study.names}
    for name in study.names:
        for label in study.labels:
            own = {metric: _score(study.values(name, label, metric)) for metric in study.metrics}
            known = {metric: score for metric, score in own.items() if score is not None}
            if known:
                scores[name][label] = known
    candidates = _candidates(study, scores)
    baseline = _best_baseline(study, candidates)
    deciding = _deciding(study, scores)
    bootstrap = UserBootstrap(study, resamples)
    notes: list[str] = []
    transfer = _comparisons(scores, study.single_task, bootstrap, notes)
    against = _comparisons(scores, baseline, bootstrap, notes)
    _test(transfer, against, deciding, study.proposed, len(candidates))
    for name, by_label in scores.items():
        for label, by_metric in by_label.items():
            for metric, score in by_metric.items():
                key = name, label, metric
                by_metric[metric] = replace(
                    score, single_task=transfer.get(key), baseline=against.get(key)
                )
    return Leaderboard(
        scores=scores,
        costs={name: _cost(list(study.entries[name].values())) for name in study.names},
        roles={name: _role(study, name) for name in study.names},
        best_baseline=baseline,
        resamples=resamples,
        deciding=deciding,
        users=bootstrap.users,
        notes=list(dict.fromkeys(notes)),
    )


def _role(study: Study, name: str) -> str:
    if name == study.single_task:
        return SINGLE_TASK
    return PROPOSED if name in study.proposed else BASELINE


def _score(values: Mapping[int, float]) -> Score | None:
    known = {seed: value for seed, value in values.items() if not math.isnan(value)}
    if not known:
        return None
    array = np.array(list(known.values()))
    sd = float(array.std(ddof=1)) if len(array) > 1 else None
    return Score(known, float(array.mean()), sd)


def _candidates(study: Study, scores: Scores) -> dict[str, float]:
    """Return the baselines that have every task, with their mean of the first metric on valid."""
    metric = study.metrics[0]
    if higher_is_better(metric) is None:
        return {}
    tasks = [
        label
        for label in study.labels
        if any(metric in by_label.get(label, {}) for by_label in scores.values())
    ]
    means = {
        name: float(
            np.mean([list(study.values(name, label, metric, "valid").values()) for label in tasks])
        )
        for name in study.names
        if _role(study, name) == BASELINE
        and tasks
        and all(metric in scores[name].get(label, {}) for label in tasks)
    }
    return {name: mean for name, mean in means.items() if not math.isnan(mean)}


def _best_baseline(study: Study, candidates: Mapping[str, float]) -> str | None:
    if not candidates:
        return None
    sign = 1 if higher_is_better(study.metrics[0]) else -1
    return max(candidates, key=lambda name: sign * candidates[name])


def _deciding(study: Study, scores: Scores) -> dict[str, str]:
    """Return the first metric that each task has."""
    return {
        label: metric
        for label in study.labels
        for metric in reversed(study.metrics)
        if any(metric in by_label.get(label, {}) for by_label in scores.values())
    }


def _comparisons(
    scores: Scores, reference: str | None, bootstrap: UserBootstrap, notes: list[str]
) -> Comparisons:
    """Return the comparisons with a reference by model, task and metric, nothing tested yet.

    A pair that was not tested on the same samples is left out and noted.
    """
    found: Comparisons = {}
    for name, by_label in scores.items():
        if reference not in scores or name == reference:
            continue
        for label, by_metric in by_label.items():
            for metric, score in by_metric.items():
                other = scores[reference].get(label, {}).get(metric)
                seeds = [s for s in score.values if other is not None and s in other.values]
                if other is None or not seeds:
                    continue
                if not bootstrap.same_samples((name, reference), label, seeds):
                    notes.append(
                        f"{name} and {reference} are not compared on {label}: they were tested on "
                        f"different samples."
                    )
                    continue
                differences = {s: score.values[s] - other.values[s] for s in seeds}
                pair = name, reference, label, metric
                found[name, label, metric] = Comparison(
                    reference=reference,
                    seeds=len(seeds),
                    difference=float(np.mean(list(differences.values()))),
                    p=paired_t_test(score.values, other.values),
                    interval=bootstrap.interval(*pair, seeds),
                    seeds_and_users=bootstrap.seeds_and_users(*pair, differences),
                )
    return found


def _test(
    transfer: Comparisons,
    against: Comparisons,
    deciding: Mapping[str, str],
    proposed: Collection[str],
    candidates: int,
) -> None:
    """Set the Holm p value of every claim, as one family: the chance of any false claim is at most 5 %.

    Args:
        transfer: The comparisons with the single-task model.
        against: Those with the best baseline; a baseline's t test is removed.
        deciding: By task the metric in which differences are tested.
        proposed: The models that are tested against the best baseline.
        candidates: Number of baselines that the best was chosen from.
    """
    claims: list[tuple[Comparisons, tuple[str, str, str], float | None]] = []
    for key, found in transfer.items():
        if key[2] == deciding[key[1]]:
            claims.append((transfer, key, _claim(found)))
    for key, found in against.items():
        if key[0] not in proposed:
            against[key] = replace(found, p=None)
        elif key[2] == deciding[key[1]]:
            p = _claim(found)
            if p is not None and not found.is_better(key[2]):
                # Weights that are good on valid are good on test, so the best of K equal baselines is
                # above average there, and an equal model seems worse. Hence Bonferroni's correction.
                p = min(1.0, candidates * p)
            claims.append((against, key, p))
    adjusted = holm([p for _, _, p in claims])
    for (comparisons, key, _), p_holm in zip(claims, adjusted, strict=True):
        comparisons[key] = replace(comparisons[key], p_holm=p_holm)


def _claim(found: Comparison) -> float | None:
    """Return the p value that a claim rests on: over seeds and users, or seeds where users are unknown."""
    return found.seeds_and_users.p if found.seeds_and_users is not None else found.p


def _cost(entries: list[Entry]) -> Cost:
    results = [[run.result for run in entry.runs] for entry in entries]
    of_first = results[0]
    seconds = [sum(r["seconds"]["train"] / r["epochs"] for r in own) for own in results]
    speed = [_joint_speed([r["samples_per_second"] for r in own]) for own in results]
    return Cost(
        runs=len(of_first),
        dense=sum(r["params"]["dense"] for r in of_first),
        embedding=sum(r["params"]["embedding"] for r in of_first),
        seconds_per_epoch=min(seconds),
        epochs=float(np.mean([r["epochs"] for own in results for r in own])),
        samples_per_second=max(speed),
        peak_mib=float(np.mean([max(r["peak_rss_bytes"] for r in own) for own in results]) / 2**20),
    )


def _joint_speed(speeds: list[float]) -> float:
    """Return the speed at which a sample passes through all runs, one after the other."""
    return 1 / sum(1 / speed for speed in speeds) if all(speeds) else 0.0
