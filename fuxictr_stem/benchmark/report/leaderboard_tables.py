"""The leaderboard's tables and definitions, for Markdown and HTML alike."""

from __future__ import annotations

from typing import Any

from fuxictr_stem.benchmark.report import formatting as form
from fuxictr_stem.benchmark.report.formatting import LACKING, Section, Strong, Table
from fuxictr_stem.benchmark.report.summary import remarks, verdicts
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import Comparison, Leaderboard, Reference
from fuxictr_stem.benchmark.score.significance import ALPHA, LEVEL
from fuxictr_stem.metrics import METRICS

_INTERVALS = ["over seeds and users", "over users only"]
_DIFFERENCE = ["model", "task", "difference", *_INTERVALS, "p over seeds only", "Holm p"]


def page_content(leaderboard: Leaderboard) -> dict[str, Any]:
    """Return what the leaderboard and the report both begin and end with."""
    finished = leaderboard.finished
    made = {
        "tasks": finished.labels,
        "seeds": finished.seeds,
        "proposed": [name for name in finished.names if name in finished.proposed],
        **finished.facts,
    }
    return {
        "title": f"Benchmark {finished.name} on {finished.dataset_id}",
        "verdicts": verdicts(leaderboard),
        "remarks": remarks(leaderboard),
        "facts": [(key, form.as_text(value)) for key, value in made.items() if value != []],
        "definitions": _definitions(leaderboard),
    }


def leaderboard_tables(leaderboard: Leaderboard) -> dict[Section, list[Table]]:
    """Return the tables by part of the report; what a benchmark lacks is left out."""
    finished = leaderboard.finished
    tables = {Section.QUALITY: _quality(leaderboard)}
    if finished.single_task in finished.names:
        tables[Section.TRANSFER] = _differences(leaderboard, "single_task")
    if leaderboard.best_baseline is not None:
        tables[Section.BASELINE] = _differences(leaderboard, "baseline")
    note = "A model is left out of the seeds in which one of its runs failed."
    tables[Section.COST] = [_cost(leaderboard), *form.failures("run", finished.failures, note)]
    tables[Section.SEARCH] = _search(finished)
    return {section: shown for section, shown in tables.items() if shown}


def _quality(leaderboard: Leaderboard) -> list[Table]:
    """Return one table per metric: mean and standard deviation over seeds of each task."""
    finished, tables = leaderboard.finished, []
    for metric in finished.metrics:
        best = {label: leaderboard.best(label, metric) for label in finished.labels}
        scores = {label: leaderboard.scores_of(label, metric) for label in finished.labels}
        rows = []
        for name in finished.names:
            cells = [
                (Strong if best[label] == name else str)(form.mean_and_sd(of_task[name]))
                if name in of_task
                else LACKING
                for label, of_task in scores.items()
            ]
            seeds = sorted({len(s[name].values) for s in scores.values() if name in s})
            rows.append([name, *cells, "/".join(map(str, seeds)) or LACKING])
        note = f"Mean ± standard deviation over seeds, on test; {form.direction(metric)}."
        header = ["model", *finished.labels, "seeds"]
        tables.append(Table(metric, note, header, rows, picture=form.file_name("quality", metric)))
    return tables


def _differences(leaderboard: Leaderboard, role: Reference) -> list[Table]:
    """Return one table per metric with the differences to a reference, a row for each task and model."""
    finished = leaderboard.finished
    reference = finished.single_task if role == "single_task" else leaderboard.best_baseline
    tables = []
    for metric in finished.metrics:
        rows = [
            [name, label, *_difference(comparison, metric)]
            for label in finished.labels
            for name, score in leaderboard.scores_of(label, metric).items()
            if (comparison := getattr(score, role))
        ]
        direction, higher = form.direction(metric), METRICS[metric].higher_is_better
        if higher is not None:
            sign = "positive" if higher else "negative"
            direction += f": a {sign} difference is an improvement"
        note = f"{metric}: {direction}.{_tested(leaderboard, metric, role)}"
        title = f"{metric}, difference to {reference}"
        picture = form.file_name("transfer", metric) if role == "single_task" else ""
        tables.append(Table(title, note, _DIFFERENCE, rows, ("task",), picture))
    return [table for table in tables if table.rows]


def _tested(leaderboard: Leaderboard, metric: str, role: Reference) -> str:
    """Return a sentence on which differences of a table are tested."""
    tasks = leaderboard.tested(metric)
    if not tasks:
        first = ", ".join(dict.fromkeys(leaderboard.deciding.values()))
        return f" Differences are tested in {first} only."
    which = "" if role == "single_task" else " Only the proposed models are tested here."
    all_tasks = len(tasks) == len(leaderboard.deciding)
    return which if all_tasks else f"{which} Tested: {', '.join(tasks)}."


def _difference(comparison: Comparison, metric: str) -> list[str]:
    intervals = (comparison.seeds_and_users, comparison.interval)
    spans = [LACKING if ends is None else form.span(ends.low, ends.high) for ends in intervals]
    p_values = (comparison.p, comparison.p_holm)
    figures = [LACKING if p is None else form.p_value(p) for p in p_values]
    text = form.signed(comparison.difference) + (" *" if comparison.is_significant else "")
    strong = comparison.is_significant and comparison.is_better(metric)
    return [Strong(text) if strong else text, *spans, *figures]


def _cost(leaderboard: Leaderboard) -> Table:
    """Return parameters, time and memory of each model."""
    rows = [
        [
            name,
            str(cost.runs),
            f"{cost.dense:,}",
            f"{cost.embedding:,}",
            form.seconds(cost.seconds_per_epoch),
            f"{cost.epochs:.1f}",
            f"{cost.samples_per_second:,.0f}",
            f"{cost.peak_mib:,.0f}",
        ]
        for name, cost in leaderboard.costs.items()
    ]
    header = ["model", "runs", "dense parameters", "embedding parameters", "s per epoch", "epochs"]
    note = (
        "Times are those of the fastest seed, because other load on the machine only makes a run "
        "slower; epochs and memory are means. The seconds of an epoch include its evaluation on valid; "
        "samples/s do not. For a model with several runs (one per task), parameters and seconds are "
        "sums over its runs, samples/s are those that pass through all of them, and memory is the largest."
    )
    return Table("Cost", note, [*header, "samples/s", "peak memory, MiB"], rows)


def _search(finished: FinishedBenchmark) -> list[Table]:
    """Return what the search tried and chose; nothing where nothing was searched."""
    if not any(trial.settings for trials in finished.searches.values() for trial in trials.every):
        return []
    rows = []
    for expid, trials in finished.searches.items():
        values, best, total = [trial.value for trial in trials.done], trials.best, len(trials.every)
        rows.append(
            [
                expid,
                f"{len(values)} of {total}" if len(values) < total else str(total),
                form.as_text(trials.monitor),
                " to ".join(form.number(end(values)) for end in (min, max)) if values else LACKING,
                form.number(best.value) if best else LACKING,
                form.as_text(best.settings) if best else LACKING,
                form.as_text(trials.edges()) if trials.edges() else "no",
            ]
        )
    header = ["experiment", "trials", "monitor", "valid, all trials", "valid, chosen", "settings"]
    note = (
        "Every experiment had the same budget of trials, with the first seed. The best one was chosen "
        "on valid, not on test; its run is also that seed's run in the tables above. At an edge: the "
        "chosen value is the lowest or highest that was tried, so a better one may lie beyond."
    )
    texts = ("monitor", "settings", "at an edge")
    return [Table("Search", note, [*header, "at an edge"], rows, texts)]


def _definitions(leaderboard: Leaderboard) -> list[str]:
    """Return what the tables' numbers mean, a sentence or two each."""
    # The tasks whose differences are tested without the chance of the users.
    resampled = {
        label
        for (_, label, metric), score in leaderboard.scores.items()
        for comparison in (score.single_task, score.baseline)
        if metric == leaderboard.deciding[label] and comparison and comparison.interval
    }
    over_seeds_alone = [label for label in leaderboard.deciding if label not in resampled]
    basis = "seeds and users" if set(leaderboard.deciding) - set(over_seeds_alone) else "seeds"
    if over_seeds_alone and basis != "seeds":
        labels = ", ".join(over_seeds_alone)
        basis += f" (on {labels} over seeds alone: the metric has no interval over users)"
    text = form.render(
        "definitions.txt",
        single_task=leaderboard.finished.single_task,
        best_baseline=leaderboard.best_baseline,
        first_metric=leaderboard.finished.metrics[0],
        users=", ".join(f"{count:,} ({label})" for label, count in leaderboard.users.items()),
        resamples=f"{leaderboard.resamples:,}",
        tested=", ".join(f"{label} in {m}" for label, m in leaderboard.deciding.items()),
        over_seeds_alone=over_seeds_alone,
        basis=basis,
        level=f"{LEVEL:.0%}",
        risk=f"{ALPHA:.0%}",
        alpha=form.number(ALPHA, 2),
        lacking=LACKING,
    )
    return text.splitlines() + leaderboard.notes
