"""The report's first screen: which model is best, whether by chance, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator

from fuxictr_stem.benchmark.report import formatting as form
from fuxictr_stem.benchmark.report.formatting import LACKING, Strong, Table
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import PROPOSED, Comparison, Leaderboard
from fuxictr_stem.benchmark.score.significance import ALPHA
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.runtime.text_table import amount

_AGAINST = "against "


def verdicts(leaderboard: Leaderboard) -> Table:
    """Return a row for the best model of each task, and for the best proposed one, in the first metric."""
    finished = leaderboard.finished
    metric = finished.metrics[0]
    rows = [
        _row(leaderboard, label, name, "the best" if name == best else "the best proposed")
        for label in finished.labels
        if (best := leaderboard.best(label, metric)) is not None
        for name in dict.fromkeys([best, leaderboard.best(label, metric, PROPOSED)])
        if name is not None
    ]
    note = "Mean ± standard deviation over seeds, on test."
    if METRICS[metric].higher_is_better is not None:
        note += f" {form.direction(metric).capitalize()}."
    header = list(dict.fromkeys(key for row in rows for key in row))
    # Where no model is compared with a reference, there is no column for it.
    header = [key for key in header if any(row[key] != LACKING for row in rows)]
    if any(key.startswith(_AGAINST) for key in header):
        note += (
            f" A difference is called real if other seeds and users would hardly change its sign: "
            f"Holm p below {form.p_value(ALPHA)}."
        )
    texts = tuple(key for key in header if key != metric)
    return Table("In short", note, header, [[row[key] for key in header] for row in rows], texts)


def _row(leaderboard: Leaderboard, label: str, name: str, place: str) -> dict[str, str]:
    metric = leaderboard.finished.metrics[0]
    score = leaderboard.scores[name, label, metric]
    single, baseline = leaderboard.finished.single_task, leaderboard.best_baseline
    # Baselines are not tested against the best of them.
    against = score.baseline if leaderboard.roles[name] == PROPOSED else None
    return {
        "task": label,
        "model": f"{name}, {place if len(leaderboard.costs) > 1 else 'the only one'}",
        metric: form.mean_and_sd(score),
        f"{_AGAINST}{single}": _verdict(score.single_task, metric),
        f"{_AGAINST}{baseline}, the best baseline": _verdict(against, metric),
        "cost": _cost(leaderboard, name),
    }


def _verdict(comparison: Comparison | None, metric: str) -> str:
    """Return a difference, its interval, and whether it is more than chance."""
    if comparison is None:
        return LACKING
    text, both = form.signed(comparison.difference), comparison.seeds_and_users
    if both is not None:
        text += f" {form.span(both.low, both.high)}"
    if comparison.p_holm is None:
        return f"{text}, not tested"
    if not comparison.is_significant:
        return f"{text}, may be chance (Holm p {form.p_value(comparison.p_holm)})"
    word = "better" if comparison.is_better(metric) else "worse"
    real = f"{text}, really {word} (Holm p {form.p_value(comparison.p_holm)})"
    return Strong(real) if word == "better" else real


def _cost(leaderboard: Leaderboard, name: str) -> str:
    """Return the time of an epoch, also as a multiple of the cheapest model's, and the memory."""
    cost = leaderboard.costs[name]
    times = {other: c.seconds_per_epoch for other, c in leaderboard.costs.items()}
    cheapest = min(times, key=lambda other: times[other])
    text = f"{form.seconds(cost.seconds_per_epoch)} s per epoch"
    if name != cheapest and times[cheapest] > 0:
        text += f", {cost.seconds_per_epoch / times[cheapest]:.1f} times {cheapest}"
    return f"{text}; {cost.peak_mib:,.0f} MiB"


def remarks(leaderboard: Leaderboard) -> Iterator[str]:
    """Yield what else must be known to read the numbers."""
    finished = leaderboard.finished
    for label in finished.labels:
        yield from _negative_transfer(leaderboard, label, finished.metrics[0])
    if max((len(score.values) for score in leaderboard.scores.values()), default=2) < 2:
        yield "Only one seed: the spread over seeds is unknown, and there is no t test."
    yield from _edges(finished)
    if finished.failures:
        yield f"{amount(len(finished.failures), 'run')} failed; see Failures."


def _negative_transfer(leaderboard: Leaderboard, label: str, metric: str) -> list[str]:
    """Return the sentence on how many models are worse than single-task on a task, if it is there."""
    scores = leaderboard.scores_of(label, metric).values()
    comparisons = [score.single_task for score in scores if score.single_task]
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


def _edges(finished: FinishedBenchmark) -> list[str]:
    """Return the sentence on searches that chose the end of a grid, if there are any."""
    searches = finished.searches.values()
    searched = [trials for trials in searches if any(trial.settings for trial in trials.every)]
    edges = [trials.edges() for trials in searched]
    keys = dict.fromkeys(key for by_key in edges for key in by_key)
    if not keys:
        return []
    return [
        f"For {sum(map(bool, edges))} of {len(searched)} experiments the search chose the lowest "
        f"or highest value of its grid ({', '.join(keys)}): a wider grid might find better "
        "settings, and change the order of the models; see Search."
    ]
