"""The report's first sentences: only what the numbers carry."""

from __future__ import annotations

from fuxictr_stem.benchmark.report.formatting import number, p_value, seconds, span
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import (
    BASELINE,
    PROPOSED,
    Comparison,
    Leaderboard,
    Score,
    best_model,
    higher_is_better,
)


def summary(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return which model is best on each task, against what, whether by chance, and at what cost.

    Only the first metric is shown.

    Args:
        study: The finished runs.
        leaderboard: Their numbers.
    """
    metric = study.metrics[0]
    lines = []
    leaders: list[str] = []
    for label in study.labels:
        best = best_model(study, leaderboard, label, metric)
        if best is None:
            continue
        leaders.append(best)
        count = sum(leaderboard.score(n, label, metric) is not None for n in study.names)
        word = "highest" if higher_is_better(metric) else "lowest"
        what = f"has the {word} mean of {count} models" if count > 1 else "is the only model"
        lines.append(_told(leaderboard, label, metric, best, what))
        own = best_model(
            study, leaderboard, label, metric, lambda name: leaderboard.roles[name] == PROPOSED
        )
        if own is not None and own != best:
            leaders.append(own)
            what = "is the best of the proposed models"
            lines.append(_told(leaderboard, label, metric, own, what))
        transfer = _transfer(study, leaderboard, label, metric)
        if transfer:
            lines.append(transfer)
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


def _edges(study: Study) -> list[str]:
    """Return the sentence on searches that chose the end of a grid, if there are any."""
    searched = {e: own for e, own in study.trials.items() if any(t["settings"] for t in own)}
    edges = {expid: at_edge(trials) for expid, trials in searched.items()}
    count = sum(bool(own) for own in edges.values())
    if not count:
        return []
    keys = dict.fromkeys(key for own in edges.values() for key in own)
    return [
        f"For {count} of {len(searched)} experiments the search chose the lowest or highest value of its "
        f"grid ({', '.join(keys)}): a wider grid might have found better, and changed the order of the "
        "models; see Search."
    ]


def _told(leaderboard: Leaderboard, label: str, metric: str, name: str, what: str) -> str:
    score = leaderboard.scores[name][label][metric]
    compared = [score.single_task]
    # Baselines are not tested against the best of them.
    if leaderboard.roles[name] == PROPOSED:
        compared.append(score.baseline)
    verdicts = [_verdict(found, metric) for found in compared if found is not None]
    return " ".join([f"{label}, {metric}: {name} {what}, {_mean(score)}.", *verdicts])


def _mean(score: Score) -> str:
    return number(score.mean) + ("" if score.sd is None else f" ± {number(score.sd)}")


def _verdict(found: Comparison, metric: str) -> str:
    """Return a sentence on a difference: its size, its interval, and whether it is more than chance."""
    if found.difference == 0:
        text = f"The same as {found.reference}"
    else:
        way = "better" if found.is_better(metric) else "worse"
        text = f"By {number(abs(found.difference))} {way} than {found.reference}"
    both = found.seeds_and_users
    if both is not None:
        text += f", {span(both.low, both.high)} over {found.seeds} seeds and test users"
    if found.p_holm is None:
        return f"{text}; there is no test."
    word = "significant" if found.is_significant else "not significant"
    return f"{text}; {word} (Holm p {p_value(found.p_holm)})."


def _transfer(study: Study, leaderboard: Leaderboard, label: str, metric: str) -> str | None:
    """Return how many models are worse than single-task on a task."""
    scores = [leaderboard.score(name, label, metric) for name in study.names]
    found = [score.single_task for score in scores if score and score.single_task]
    worse = [c for c in found if c.difference != 0 and not c.is_better(metric)]
    if not found:
        return None
    text = f"{label}, {metric}: worse mean than {study.single_task}: {len(worse)} of {len(found)} models"
    if worse and any(c.p_holm is not None for c in found):
        text += f", {sum(c.is_significant for c in worse)} of them significantly"
    return f"{text}."


def _cost(study: Study, leaderboard: Leaderboard, name: str) -> str:
    cost = leaderboard.costs[name]
    text = (
        f"{name} takes {seconds(cost.seconds_per_epoch)} s an epoch and {cost.peak_mib:,.0f} MiB, with "
        f"{cost.dense:,} dense and {cost.embedding:,} embedding parameters"
    )
    references = [study.single_task]
    if leaderboard.roles[name] != BASELINE:
        references.append(leaderboard.best_baseline)
    shares = []
    for other in references:
        if other is not None and other != name and other in leaderboard.costs:
            of_other = leaderboard.costs[other].seconds_per_epoch
            if of_other > 0:
                shares.append(f"{cost.seconds_per_epoch / of_other:.1f} times {other}")
    return text + (f"; the time is {' and '.join(shares)}." if shares else ".")
