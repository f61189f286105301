"""The report's first sentences: only what the numbers carry."""

from __future__ import annotations

from fuxictr_stem.benchmark.report.formatting import mean_and_sd, number, p_value, seconds, span
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import (
    BASELINE,
    PROPOSED,
    Comparison,
    Leaderboard,
    best_model,
    higher_is_better,
)


def summary(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return which model is best on each task, compared with what, whether by chance, and at what cost.

    Only the first metric is shown.
    """
    metric = study.metrics[0]
    lines = []
    leaders: list[str] = []
    for label in study.labels:
        best = best_model(study, leaderboard, label, metric)
        if best is None:
            continue
        count = sum(metric in by_label.get(label, {}) for by_label in leaderboard.scores.values())
        word = "highest" if higher_is_better(metric) else "lowest"
        what = f"has the {word} mean of {count} models" if count > 1 else "is the only model"
        leaders.append(best)
        lines.append(_placing(leaderboard, label, metric, best, what))
        proposed = best_model(
            study, leaderboard, label, metric, lambda name: leaderboard.roles[name] == PROPOSED
        )
        if proposed is not None and proposed != best:
            leaders.append(proposed)
            what = "is the best of the proposed models"
            lines.append(_placing(leaderboard, label, metric, proposed, what))
        lines += _negative_transfer(study, leaderboard, label, metric)
    lines += [_cost(study, leaderboard, name) for name in dict.fromkeys(leaders)]
    seeds = {len(score.values) for _, _, _, score in leaderboard.each()}
    if seeds and max(seeds) < 2:
        lines.append(
            "One seed only: nothing is known of the spread over seeds, and no t test was made."
        )
    lines += _edges(study)
    if study.failures:
        runs = len(study.failures)
        lines.append(f"{runs} {'run' if runs == 1 else 'runs'} failed; see Failures.")
    return lines


def _placing(leaderboard: Leaderboard, label: str, metric: str, name: str, what: str) -> str:
    score = leaderboard.scores[name][label][metric]
    # Baselines are not tested against the best of them.
    against = score.baseline if leaderboard.roles[name] == PROPOSED else None
    verdicts = [
        _verdict(comparison, metric) for comparison in (score.single_task, against) if comparison
    ]
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


def _negative_transfer(
    study: Study, leaderboard: Leaderboard, label: str, metric: str
) -> list[str]:
    """Return the sentence on how many models are worse than single-task on a task, if it is there."""
    scores = [leaderboard.score(name, label, metric) for name in study.names]
    comparisons = [score.single_task for score in scores if score and score.single_task]
    worse = [
        comparison
        for comparison in comparisons
        if comparison.difference != 0 and not comparison.is_better(metric)
    ]
    if not comparisons:
        return []
    text = (
        f"{label}, {metric}: worse mean than {study.single_task}: {len(worse)} of {len(comparisons)} "
        "models"
    )
    if worse and any(comparison.p_holm is not None for comparison in comparisons):
        significant = sum(comparison.is_significant for comparison in worse)
        text += f", {significant} of them significantly"
    return [f"{text}."]


def _cost(study: Study, leaderboard: Leaderboard, name: str) -> str:
    cost = leaderboard.costs[name]
    text = (
        f"{name} takes {seconds(cost.seconds_per_epoch)} s per epoch and {cost.peak_mib:,.0f} MiB, with "
        f"{cost.dense:,} dense and {cost.embedding:,} embedding parameters"
    )
    baseline = None if leaderboard.roles[name] == BASELINE else leaderboard.best_baseline
    shares = [
        f"{cost.seconds_per_epoch / leaderboard.costs[other].seconds_per_epoch:.1f} times {other}"
        for other in (study.single_task, baseline)
        if other in leaderboard.costs
        and other != name
        and leaderboard.costs[other].seconds_per_epoch > 0
    ]
    return text + (f"; the time is {' and '.join(shares)}." if shares else ".")


def _edges(study: Study) -> list[str]:
    """Return the sentence on searches that chose the end of a grid, if there are any."""
    searched = {
        expid: trials
        for expid, trials in study.trials.items()
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
