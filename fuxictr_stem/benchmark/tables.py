"""The leaderboard's tables and definitions, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuxictr_stem.benchmark.record import Study
from fuxictr_stem.benchmark.scores import (
    Comparison,
    Leaderboard,
    best_model,
    higher_is_better,
)
from fuxictr_stem.benchmark.statistics import ALPHA, LEVEL
from fuxictr_stem.benchmark.summary import summary
from fuxictr_stem.benchmark.table import Cell, Table, escape_markdown
from fuxictr_stem.benchmark.text import LACKING, Section, number, p_value, seconds, signed

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
    """Return a table a metric with the differences to a reference; none without other models.

    Args:
        study: The finished runs.
        leaderboard: Their numbers.
        to: ``single_task`` or ``baseline``.
    """
    reference = study.single_task if to == "single_task" else leaderboard.best_baseline
    tables = []
    for metric in study.metrics:
        rows = []
        for name in study.names:
            if name == reference:
                continue
            scores = [leaderboard.score(name, label, metric) for label in study.labels]
            found = [getattr(score, to) if score else None for score in scores]
            rows.append([Cell(name), *(_difference(comparison, metric) for comparison in found)])
        title = f"{metric}, difference to {reference}"
        note = f"{metric}: {_DIRECTIONS[higher_is_better(metric)]}."
        tables.append(Table(title, note, ["model", *study.labels], rows))
    return [table for table in tables if table.rows]


def _difference(found: Comparison | None, metric: str) -> Cell:
    if found is None:
        return Cell(LACKING)
    text = signed(found.difference)
    if found.interval is not None:
        text += f" [{signed(found.interval.low)}, {signed(found.interval.high)}]"
    if found.p is not None and found.p_holm is not None:
        text += f"; p {p_value(found.p)}, Holm {p_value(found.p_holm)}"
    if found.is_significant:
        text += " *"
    return Cell(text, found.is_significant and found.is_better(metric))


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
            ]
        )
    if not any(trial["settings"] for trials in study.trials.values() for trial in trials):
        return None
    header = ["experiment", "trials", "monitor", "valid, all trials", "valid, chosen", "settings"]
    note = (
        "Every experiment was given the same trials, with the first seed; valid decided, not test. The "
        "best trial's run is also that seed's run in the tables above."
    )
    return Table("Search", note, header, rows, ("monitor", "settings"))


def failure_table(study: Study) -> Table | None:
    """Return the runs that failed and why, or None where none did."""
    if not study.failures:
        return None
    rows = [[Cell(run), Cell(reason)] for run, reason in study.failures.items()]
    note = "A model is left out of the seeds in which one of its runs failed."
    return Table("Failures", note, ["run", "reason"], rows, ("reason",))


def definitions(study: Study, leaderboard: Leaderboard) -> list[str]:
    """Return what the tables' numbers mean, a sentence or two each."""
    users = ", ".join(f"{count:,} ({label})" for label, count in leaderboard.users.items())
    lines = [
        "± is the standard deviation over seeds (n - 1 in the denominator). Bold is a task's best mean, "
        "or among differences an improvement with *.",
        "p: two-sided paired t test over the seeds that both models have. Holm: the same after Holm's "
        "correction over all models and tasks of one metric and one reference. "
        f"* marks Holm p < {number(ALPHA, 2)}. With fewer than two seeds, or where all seeds differ "
        "by the same amount, there is no test.",
    ]
    if users:
        lines.append(
            f"[low, high]: {LEVEL:.0%} percentile interval of the paired bootstrap over test users, "
            f"{leaderboard.resamples:,} resamples, test users by task: {users}. Both models are measured "
            "on the same resampled users, and the mean over seeds is taken in each resample: it holds "
            "the chance of who is in the test split, not that of training."
        )
    if study.single_task is not None:
        lines.append(
            f"{study.single_task}: one run a task, each with a model of its own. Worse than it is "
            "negative transfer."
        )
    if leaderboard.best_baseline is not None:
        lines.append(
            f"Best baseline: {leaderboard.best_baseline}, by its mean {study.metrics[0]} over tasks on "
            "test, among the models that are neither single-task nor proposed and have all tasks."
        )
    lines.append(f"{LACKING} means that a model has not got the task, or that there is no test.")
    return lines + leaderboard.notes


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
    """Return the tables by part of the report; what a study has not got is left out."""
    found = {Section.QUALITY: quality_tables(study, leaderboard)}
    if study.single_task in leaderboard.scores:
        found[Section.TRANSFER] = difference_tables(study, leaderboard, "single_task")
    if leaderboard.best_baseline is not None:
        found[Section.BASELINE] = difference_tables(study, leaderboard, "baseline")
    optional = (search_table(study), failure_table(study))
    found[Section.COST] = [cost_table(study, leaderboard), *(t for t in optional if t is not None)]
    return {section: tables for section, tables in found.items() if tables}
