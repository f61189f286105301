"""The report's first sentences: only what the numbers carry."""

from __future__ import annotations

from fuxictr_stem.benchmark.report.formatting import mean_and_sd, number, p_value, seconds, span
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import (
    BASELINE,
    PROPOSED,
    Comparison,
    Leaderboard,
    higher_is_better,
)
from fuxictr_stem.runtime.text_table import amount


def summary(leaderboard: Leaderboard) -> list[str]:
    """Return which model is best on each task, compared with what, whether by chance, and at what cost.

    Only the first metric is shown.
    """
    finished = leaderboard.finished
    metric = finished.metrics[0]
    word = "highest" if higher_is_better(metric) else "lowest"
    lines = []
    leaders: list[str] = []
    for label in finished.labels:
        best = leaderboard.best(label, metric)
        if best is None:
            continue
        count = sum(key[1:] == (label, metric) for key in leaderboard.scores)
        what = f"has the {word} mean of {count} models" if count > 1 else "is the only model"
        leaders.append(best)
        lines.append(_placing(leaderboard, label, metric, best, what))
        proposed = leaderboard.best(label, metric, PROPOSED)
        if proposed is not None and proposed != best:
            leaders.append(proposed)
            what = "is the best of the proposed models"
            lines.append(_placing(leaderboard, label, metric, proposed, what))
        lines += _negative_transfer(leaderboard, label, metric)
    lines += [_cost(leaderboard, name) for name in dict.fromkeys(leaders)]
    if max((len(score.values) for score in leaderboard.scores.values()), default=2) < 2:
        lines.append(
            "One seed only: nothing is known of the spread over seeds, and no t test was made."
        )
    lines += _edges(finished)
    if finished.failures:
        lines.append(f"{amount(len(finished.failures), 'run')} failed; see Failures.")
    return lines


def _placing(leaderboard: Leaderboard, label: str, metric: str, name: str, what: str) -> str:
    score = leaderboard.scores[name, label, metric]
    # Baselines are not tested against the best of them.
    against = score.baseline if leaderboard.roles[name] == PROPOSED else None
    compared = (score.single_task, against)
    verdicts = [_verdict(comparison, metric) for comparison in compared if comparison]
    return " ".join([f"{label}, {metric}: {name} {what}, {mean_and_sd(score)}.", *verdicts])


def _verdict(comparison: Comparison, metric: str) -> str:
    """Return a sentence on a difference: its size, its interval, and whether it is more than chance."""
    if comparison.difference == 0:
        text = f"The same as {comparison.reference}"
    else:
        way = "better" if comparison.is_better(metric) else "worse"
        text = f"By {number(abs(comparison.difference))} {way} than {comparison.reference}"
    both = comparison.seeds_and_users
    if both is not None:
        text += f", {span(both.low, both.high)} over {comparison.seeds} seeds and test users"
    if comparison.p_holm is None:
        return f"{text}; there is no test."
    word = "significant" if comparison.is_significant else "not significant"
    return f"{text}; {word} (Holm p {p_value(comparison.p_holm)})."


def _negative_transfer(leaderboard: Leaderboard, label: str, metric: str) -> list[str]:
    """Return the sentence on how many models are worse than single-task on a task, if it is there."""
    scores = [leaderboard.score(name, label, metric) for name in leaderboard.finished.names]
    comparisons = [score.single_task for score in scores if score and score.single_task]
    worse = [c for c in comparisons if c.difference != 0 and not c.is_better(metric)]
    if not comparisons:
        return []
    reference = leaderboard.finished.single_task
    count = f"{len(worse)} of {len(comparisons)} models"
    text = f"{label}, {metric}: worse mean than {reference}: {count}"
    if worse and any(comparison.p_holm is not None for comparison in comparisons):
        significant = sum(comparison.is_significant for comparison in worse)
        text += f", {significant} of them significantly"
    return [f"{text}."]


def _cost(leaderboard: Leaderboard, name: str) -> str:
    cost = leaderboard.costs[name]
    text = (
        f"{name} takes {seconds(cost.seconds_per_epoch)} s per epoch and {cost.peak_mib:,.0f} MiB, with "
        f"{cost.dense:,} dense and {cost.embedding:,} embedding parameters"
    )
    baseline = None if leaderboard.roles[name] == BASELINE else leaderboard.best_baseline
    others = {
        other: leaderboard.costs[other].seconds_per_epoch
        for other in (leaderboard.finished.single_task, baseline)
        if other in leaderboard.costs and other != name
    }
    shares = [
        f"{cost.seconds_per_epoch / time:.1f} times {other}"
        for other, time in others.items()
        if time > 0
    ]
    return text + (f"; the time is {' and '.join(shares)}." if shares else ".")


def _edges(finished: FinishedBenchmark) -> list[str]:
    """Return the sentence on searches that chose the end of a grid, if there are any."""
    searched = {
        expid: trials
        for expid, trials in finished.trials.items()
        if any(trial["settings"] for trial in trials)
    }
    edges = [at_edge(trials) for trials in searched.values()]
    keys = dict.fromkeys(key for by_key in edges for key in by_key)
    if not keys:
        return []
    return [
        f"For {sum(map(bool, edges))} of {len(searched)} experiments the search chose the lowest or "
        f"highest value of its grid ({', '.join(keys)}): a wider grid might have found better, and "
        "changed the order of the models; see Search."
    ]
