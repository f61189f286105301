"""The page of a tuner: what was tried, what was best, and pictures, as one HTML file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from datetime import date

from fuxictr_stem.benchmark.report.figures.search_figures import (
    ShownSearch,
    front_picture,
    search_pictures,
)
from fuxictr_stem.benchmark.report.figures.style import Picture
from fuxictr_stem.benchmark.report.formatting import LACKING, Section, number
from fuxictr_stem.benchmark.report.html_report import write_page
from fuxictr_stem.benchmark.report.render import Strong, Table, as_text
from fuxictr_stem.tuning.run_tuner import FinishedTuner
from fuxictr_stem.tuning.space import GRID, at_edge
from fuxictr_stem.tuning.trial import DONE, FAILED, Trial


def write_tuner_page(finished: FinishedTuner) -> None:
    """Write ``report.html`` and ``figures/*.png`` into the tuner's folder.

    Raises:
        OutputError: They cannot be written.
    """
    tuner = finished.tuner
    monitor = as_text(tuner.params["monitor"])
    is_max = tuner.params["monitor_mode"] == "max"
    search = ShownSearch(tuner.base_expid, monitor, is_max, finished.trials)
    content = {
        "title": f"Tuner {tuner.folder.name}",
        "verdicts": _table(finished, "In short", "The best trials, by the monitor on valid.", 3),
        "remarks": _summary(finished),
        "facts": [
            ("experiment", f"{tuner.base_expid} on {tuner.dataset_id}"),
            ("sampler", tuner.search.sampler),
            ("monitor", f"{monitor}, {tuner.params['monitor_mode']}"),
            ("command", shlex.join(["python", *sys.argv])),
            ("date", date.today().isoformat()),
        ],
        "definitions": [
            "The monitor is the experiment's own, on valid. Test decided nothing.",
            f"{LACKING} means that a trial has no such value.",
        ],
    }
    every = _table(finished, "Trials", "The best first.", len(finished.trials))
    tables = {Section.SEARCH: [every, *_failures(finished)]}

    def pictures() -> Iterator[Picture]:
        yield from search_pictures([search])
        if len(tuner.modes) > 1:
            yield front_picture(search.done, finished.front, tuner.modes)

    write_page(tuner.folder, tables, pictures, content)


def _summary(finished: FinishedTuner) -> list[str]:
    best = finished.best
    lines = [
        f"{finished.summary()[0]}.",
        f"Best monitor: {number(best.value, 6)} of {best.name}, with "
        f"{as_text(finished.varied(best))}. As an experiment id: {finished.best_expid}.",
    ]
    first = finished.trials[0]
    if first.number == 0 and first.state == DONE and finished.tuner.search.sampler != GRID:
        lines.append(f"The experiment's own settings have {number(first.value, 6)}.")
    if len(finished.tuner.modes) > 1:
        names = ", ".join(trial.name for trial in finished.front)
        lines.append(f"On the Pareto front of {', '.join(finished.tuner.modes)}: {names}.")
    trials = [{"settings": finished.varied(t), "chosen": t is best} for t in finished.trials]
    if edges := at_edge(trials):
        lines.append(
            f"The best is at an end of what was tried ({as_text(edges)}): a better one may lie beyond."
        )
    return lines


def _table(finished: FinishedTuner, title: str, note: str, most: int) -> Table:
    names = list(finished.tuner.modes)
    keys = list(finished.varied(finished.best))
    rows = []
    for trial in finished.ranked()[:most]:
        figures = [trial.value, *(trial.objectives.get(name, float("nan")) for name in names)]
        cells = [LACKING if figure != figure else number(figure, 6) for figure in figures]
        values = [as_text(trial.settings[key]) for key in keys]
        state = trial.state + (", front" if trial in finished.front and names else "")
        rows.append([trial.name, state, *_strong(finished, trial, cells), *values])
    header = ["trial", "state", "monitor", *names, *keys]
    return Table(title, note, header, rows, ("state", *keys))


def _strong(finished: FinishedTuner, trial: Trial, cells: list[str]) -> list[str]:
    return [Strong(cell) for cell in cells] if trial is finished.best else cells


def _failures(finished: FinishedTuner) -> list[Table]:
    rows = [[trial.name, trial.reason] for trial in finished.trials if trial.state == FAILED]
    return [Table("Failures", "", ["trial", "reason"], rows, ("reason",))] if rows else []
