"""The leaderboard's tables and definitions, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr_stem.benchmark.report.formatting import (
    LACKING,
    Section,
    number,
    p_value,
    seconds,
    signed,
    span,
)
from fuxictr_stem.benchmark.report.summary import summary
from fuxictr_stem.benchmark.report.table import Cell, Table, escape_markdown
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import (
    Comparison,
    Leaderboard,
    best_model,
    higher_is_better,
)
from fuxictr_stem.benchmark.score.significance import ALPHA, LEVEL

_DIRECTIONS = {
    True: "higher is better: a positive difference is an improvement",
    False: "lower is better: a negative difference is an improvement",
    None: "neither higher nor lower is better",
}


def quality_tables(study: Study, leaderboard: Leaderboard) -> list[Table]:
    """Return a table a metric: mean and standard deviation over seeds of each task."""
    tables = []
    for metric in study.metrics:
        rows = []
        for name in study.names:
            row = [Cell(name)]
            seeds = set()
            for label in study.labels:
                score = leaderboard.score(name, label, metric)
                if score is None:
                    row.append(Cell(LACKING))
                    continue
                spread = "" if score.sd is None else f" ± {number(score.sd)}"
                best = best_model(study, leaderboard, label, metric) == name
                row.append(Cell(f"{number(score.mean)}{spread}", best))
                seeds.add(len(score.values))
            row.append(Cell("/".join(str(count) for count in sorted(seeds)) or LACKING))
            rows.append(row)
        direction = _DIRECTIONS[higher_is_better(metric)].split(":")[0]
        note = f"Mean ± standard deviation over seeds, on test; {direction}."
        tables.append(Table(metric, note, ["model", *study.labels, "seeds"], rows))
    return tables


def difference_tables(study: Study, leaderboard: Leaderboard, to: str) -> list[Table]:
    """Return a table for each metric with the differences to a reference, a row for each task and model.

    Args:
        study: The finished runs.
        leaderboard: Their numbers.
        to: ``single_task`` or ``baseline``.
    """
    reference = study.single_task if to == "single_task" else leaderboard.best_baseline
    tables = []
    for metric in study.metrics:
        rows = []
        for label in study.labels:
            for name in study.names:
                score = leaderboard.score(name, label, metric)
                found = getattr(score, to) if score else None
                if found is not None:
                    rows.append([Cell(name), Cell(label), *_difference(found, metric)])
        title = f"{metric}, difference to {reference}"
        note = (
            f"{metric}: {_DIRECTIONS[higher_is_better(metric)]}.{_tested(leaderboard, metric, to)}"
        )
        tables.append(Table(title, note, _DIFFERENCE, rows, ("task",)))
    return [table for table in tables if table.rows]


_DIFFERENCE = [
    "model",
    "task",
    "difference",
    "over seeds and users",
    "over users only",
    "p over seeds only",
    "Holm p",
]


def _tested(leaderboard: Leaderboard, metric: str, to: str) -> str:
    """Return a sentence on which differences of a table are tested."""
    tasks = [label for label, own in leaderboard.deciding.items() if own == metric]
    if not tasks:
        first = ", ".join(dict.fromkeys(leaderboard.deciding.values()))
        return f" Differences are tested in {first} only."
    which = "" if to == "single_task" else " Only the proposed models are tested here."
    return (
        which if len(tasks) == len(leaderboard.deciding) else f"{which} Tested: {', '.join(tasks)}."
    )


def _difference(found: Comparison, metric: str) -> list[Cell]:
    intervals = [
        LACKING if own is None else span(own.low, own.high)
        for own in (found.seeds_and_users, found.interval)
    ]
    p_values = [LACKING if p is None else p_value(p) for p in (found.p, found.p_holm)]
    text = signed(found.difference) + (" *" if found.is_significant else "")
    strong = found.is_significant and found.is_better(metric)
    return [Cell(text, strong), *(Cell(own) for own in [*intervals, *p_values])]


def cost_table(study: Study, leaderboard: Leaderboard) -> Table:
    """Return parameters, time and memory of each model."""
    rows = []
    for name in study.names:
        cost = leaderboard.costs[name]
        figures = [
            str(cost.runs),
            f"{cost.dense:,}",
            f"{cost.embedding:,}",
            seconds(cost.seconds_per_epoch),
            f"{cost.epochs:.1f}",
            f"{cost.samples_per_second:,.0f}",
            f"{cost.peak_mib:,.0f}",
        ]
        rows.append([Cell(name), *(Cell(text) for text in figures)])
    header = [
        "model",
        "runs",
        "dense parameters",
        "embedding parameters",
        "s per epoch",
        "epochs",
        "samples/s",
        "peak memory, MiB",
    ]
    note = (
        "Times are those of the fastest seed, since what else a machine does only makes a run slower; "
        "epochs and memory are means. An epoch's seconds hold its evaluation on valid, samples/s do not. "
        "Of a model with several runs (one a task), parameters and seconds are the sums over its runs, "
        "samples/s are those that pass through all of them, and memory is the largest."
    )
    return Table("Cost", note, header, rows)


def search_table(study: Study) -> Table | None:
    """Return what the search tried and chose, or None where nothing was searched."""
    rows = []
    for expid, trials in study.trials.items():
        done = [trial for trial in trials if trial["value"] is not None]
        chosen = [trial for trial in trials if trial["chosen"]]
        values = [trial["value"] for trial in done]
        monitor = as_text(trials[0]["monitor"]) if trials else LACKING
        rows.append(
            [
                Cell(expid),
                Cell(
                    f"{len(done)} of {len(trials)}" if len(done) < len(trials) else str(len(done))
                ),
                Cell(monitor),
                Cell(f"{number(min(values))} to {number(max(values))}" if values else LACKING),
                Cell(number(chosen[0]["value"]) if chosen else LACKING),
                Cell(as_text(chosen[0]["settings"]) if chosen else LACKING),
                Cell(as_text(at_edge(trials)) if at_edge(trials) else "no"),
            ]
        )
    if not any(trial["settings"] for trials in study.trials.values() for trial in trials):
        return None
    header = [
        "experiment",
        "trials",
        "monitor",
        "valid, all trials",
        "valid, chosen",
        "settings",
        "at an edge",
    ]
    note = (
        "Every experiment was given the same trials, with the first seed; valid decided, not test. The "
        "best trial's run is also that seed's run in the tables above. At an edge: the chosen value is the "
        "lowest or highest that was tried, so a better one may lie beyond."
    )
    return Table("Search", note, header, rows, ("monitor", "settings", "at an edge"))


def failure_table(study: Study) -> Table | None:
    """Return the runs that failed and why, or None where none did."""
    if not study.failures:
        return None
    rows = [[Cell(run), Cell(reason)] for run, reason in study.failures.items()]
    note = "A model is left out of the seeds in which one of its runs failed."
    return Table("Failures", note, ["run", "reason"], rows, ("reason",))


def definitions(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return what the tables' numbers mean, a sentence or two each."""
    lines = [
        "± is the standard deviation over seeds (n - 1 in the denominator). Bold is a task's best mean, "
        "or among differences an improvement with *.",
    ]
    if study.single_task is not None or leaderboard.best_baseline is not None:
        lines += _definitions_of_tests(study, leaderboard)
    if study.single_task is not None:
        lines.append(
            f"{study.single_task}: one run a task, each with a model of its own. Worse than it is "
            "negative transfer."
        )
    if leaderboard.best_baseline is not None:
        lines.append(
            f"Best baseline: {leaderboard.best_baseline}, by its mean {study.metrics[0]} over tasks on "
            "valid, so that test does not choose what it is then compared on; among the models that are "
            "neither single-task nor proposed and have all tasks."
        )
    lines.append(f"{LACKING} means that a model lacks the task, or that there is no test.")
    return lines + leaderboard.notes


def _definitions_of_tests(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return what the intervals and p values of differences mean."""
    users = ", ".join(f"{count:,} ({label})" for label, count in leaderboard.users.items())
    lines = []
    if users:
        lines += [
            f"Over seeds and users: {LEVEL:.0%} interval of the difference if both other seeds and other "
            "test users had been drawn (a two-level bootstrap, with Student's quantiles for few seeds). "
            "This is the interval to read a difference by; it needs two seeds. No interval is "
            "corrected for how many there are.",
            f"Over users only: {LEVEL:.0%} percentile interval of the paired bootstrap over test users, "
            f"{leaderboard.resamples:,} resamples, test users by task: {users}. Both models are measured "
            "on the same resampled users, and the mean over seeds is taken in each resample: it holds "
            "the chance of who is in the test split, not that of training. Two trainings of one model "
            "differ by it, too.",
        ]
    lines.append(
        "p over seeds only: two-sided paired t test over the seeds that both models have, on these test "
        "users, uncorrected. With fewer than two seeds, or where all seeds differ by the same amount, "
        "there is none."
    )
    tested = ", ".join(f"{label} in {metric}" for label, metric in leaderboard.deciding.items())
    alone = _over_seeds_alone(leaderboard)
    basis = "seeds and users" if set(leaderboard.deciding) - set(alone) else "seeds"
    if alone and basis != "seeds":
        basis += f" (on {', '.join(alone)} over seeds alone: the metric has no interval over users)"
    lines.append(
        f"Holm p: that there is no difference, over {basis}, after Holm's correction over all claims of "
        "this leaderboard: every model against single-task, and proposed models against the best baseline, "
        f"on every task in its first metric ({tested}). Baselines are not tested against the best of "
        "them. Where a proposed model is worse than the best of K baselines, its p is first multiplied by "
        f"K. * marks Holm p < {number(ALPHA, 2)}: of leaderboards without any true difference"
        f"{' on these test users' if alone else ''} at most {ALPHA:.0%} have one."
    )
    return lines


def _over_seeds_alone(leaderboard: Leaderboard) -> list[str]:
    """Return the tasks whose differences are tested without the chance of the users."""
    resampled = {
        label
        for _, label, metric, score in leaderboard.each()
        for found in (score.single_task, score.baseline)
        if metric == leaderboard.deciding[label]
        and found is not None
        and found.interval is not None
    }
    return [label for label in leaderboard.deciding if label not in resampled]


def title(study: Study) -> str:
    """Return the title of the leaderboard and the report."""
    return f"Benchmark {study.name} on {study.dataset_id}"


def facts(study: Study) -> list[tuple[str, str]]:
    """Return what was run, on what and how, as name and value."""
    own = {
        "tasks": study.labels,
        "seeds": study.seeds,
        "proposed": [name for name in study.names if name in study.proposed],
    }
    return [(key, as_text(value)) for key, value in {**own, **study.facts}.items() if value != []]


def as_text(value: Any) -> str:
    """Return a value of a config as text for people: mappings and lists with commas."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_text(own)}" for key, own in value.items()) or "as configured"
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(own) for own in value)
    return str(value)


def leaderboard_markdown(study: Study, leaderboard: Leaderboard) -> str:
    """Return the whole leaderboard as Markdown."""
    parts = [f"# {escape_markdown(title(study))}\n", "## In short\n"]
    parts.append("".join(f"- {escape_markdown(line)}\n" for line in summary(study, leaderboard)))
    parts.append("## How it was made\n")
    parts.append("".join(f"- {key}: {escape_markdown(value)}\n" for key, value in facts(study)))
    for section, tables in sections(study, leaderboard).items():
        parts.append(f"## {section.value}\n")
        parts += [table.to_markdown() for table in tables]
    parts.append("## Definitions\n")
    lines = definitions(study, leaderboard)
    parts.append("".join(f"- {escape_markdown(line)}\n" for line in lines))
    return "\n".join(parts)


def sections(study: Study, leaderboard: Leaderboard) -> dict[Section, list[Table]]:
    """Return the tables by part of the report; what a study lacks is left out."""
    found = {Section.QUALITY: quality_tables(study, leaderboard)}
    if study.single_task in leaderboard.scores:
        found[Section.TRANSFER] = difference_tables(study, leaderboard, "single_task")
    if leaderboard.best_baseline is not None:
        found[Section.BASELINE] = difference_tables(study, leaderboard, "baseline")
    optional = (search_table(study), failure_table(study))
    found[Section.COST] = [cost_table(study, leaderboard), *(t for t in optional if t is not None)]
    return {section: tables for section, tables in found.items() if tables}
