"""The report's first sentences: only what the numbers carry."""

from __future__ import annotations

from fuxictr_stem.benchmark.record import Study
from fuxictr_stem.benchmark.scores import (
    BASELINE,
    PROPOSED,
    Comparison,
    Leaderboard,
    Score,
    best_model,
    higher_is_better,
)
from fuxictr_stem.benchmark.text import number, p_value, seconds, signed


def summary(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return which model is best on each task, against what, whether by chance, and at what cost.

    Only the first metric is told.

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
    if study.failures:
        runs = len(study.failures)
        lines.append(f"{runs} {'run' if runs == 1 else 'runs'} failed; see Failures.")
    return lines


def _told(leaderboard: Leaderboard, label: str, metric: str, name: str, what: str) -> str:
    score = leaderboard.scores[name][label][metric]
    compared = [score.single_task, score.baseline]
    verdicts = [_verdict(found, metric) for found in compared if found is not None]
    return " ".join([f"{label}, {metric}: {name} {what}, {_mean(score)}.", *verdicts])


def _mean(score: Score) -> str:
    return number(score.mean) + ("" if score.sd is None else f" ± {number(score.sd)}")


def _verdict(found: Comparison, metric: str) -> str:
    """Return a sentence on a difference: its size, then what each of the two tests says."""
    if found.difference == 0:
        text = f"The same as {found.reference}"
    else:
        way = "better" if found.is_better(metric) else "worse"
        text = f"By {number(abs(found.difference))} {way} than {found.reference}"
    if found.p_holm is None:
        text += "; over seeds there is no test"
    else:
        word = "significant" if found.is_significant else "not significant"
        text += f"; over {found.seeds} seeds {word} (Holm p {p_value(found.p_holm)})"
    if found.interval is not None:
        low, high = found.interval.low, found.interval.high
        word = "holds" if low <= 0 <= high else "excludes"
        text += f"; the interval over test users {word} zero [{signed(low)}, {signed(high)}]"
    return f"{text}."


def _transfer(study: Study, leaderboard: Leaderboard, label: str, metric: str) -> str | None:
    """Return how many models are worse than single-task on a task."""
    scores = [leaderboard.score(name, label, metric) for name in study.names]
    found = [score.single_task for score in scores if score and score.single_task]
    worse = [c for c in found if c.difference != 0 and not c.is_better(metric)]
    if not found:
        return None
    text = f"{label}, {metric}: worse mean than {study.single_task}: {len(worse)} of {len(found)} models"
    if worse and any(c.p_holm is not None for c in found):
        text += f", {sum(c.is_significant for c in worse)} significantly over seeds"
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
