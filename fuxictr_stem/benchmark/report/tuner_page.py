"""The page of a tuner: what was tried, what was best, and pictures, as one HTML file."""

from __future__ import annotations

import shlex
import sys
from datetime import date
from itertools import chain

from fuxictr_stem.benchmark.report import formatting as form
from fuxictr_stem.benchmark.report.figures.search_figures import front_pictures, search_pictures
from fuxictr_stem.benchmark.report.formatting import LACKING, Section, Strong, Table
from fuxictr_stem.benchmark.report.report_files import write_page
from fuxictr_stem.tuning.run_tuner import FinishedTuner
from fuxictr_stem.tuning.space import GRID
from fuxictr_stem.tuning.trials import DONE, FAILED


def write_tuner_page(finished: FinishedTuner) -> None:
    """Write ``report.html`` and ``figures/*.png`` into the tuner's folder.

    Raises:
        OutputError: They cannot be written.
    """
    tuner = finished.tuner
    content = {
        "title": f"Tuner {tuner.folder.name}",
        "verdicts": _table(finished, "In short", "The best trials, by the monitor on valid.", 3),
        "remarks": _summary(finished),
        "facts": [
            ("experiment", f"{tuner.base_expid} on {tuner.dataset_id}"),
            ("sampler", tuner.search.sampler),
            ("monitor", f"{form.as_text(finished.trials.monitor)}, {finished.trials.mode}"),
            ("command", shlex.join(["python", *sys.argv])),
            ("date", date.today().isoformat()),
        ],
        "definitions": [
            "The monitor is the experiment's own, measured on valid. Test was not used to choose.",
            f"{LACKING} means that a trial has no such value.",
        ],
    }
    every = _table(finished, "Trials", "The best first.", len(finished.trials.every))
    failed = {t.name: t.reason for t in finished.trials.every if t.state == FAILED}
    tables = {Section.SEARCH: [every, *form.failures("trial", failed)]}
    fronts = front_pictures(finished.trials.done, finished.front, tuner.modes)
    write_page(tuner.folder, tables, chain(search_pictures([finished.trials]), fronts), content)


def _summary(finished: FinishedTuner) -> list[str]:
    best = finished.best
    lines = [
        f"{finished.summary()[0]}.",
        f"Best monitor: {form.number(best.value, 6)} of {best.name}, with "
        f"{form.as_text(finished.varied(best))}. As an experiment id: {finished.best_expid}.",
    ]
    first = finished.trials.every[0]
    if first.number == 0 and first.state == DONE and finished.tuner.search.sampler != GRID:
        lines.append(f"The experiment's own settings have {form.number(first.value, 6)}.")
    if len(finished.tuner.modes) > 1:
        names = ", ".join(trial.name for trial in finished.front)
        lines.append(f"On the Pareto front of {', '.join(finished.tuner.modes)}: {names}.")
    if edges := finished.trials.edges():
        lines.append(
            f"The best is at an end of what was tried ({form.as_text(edges)}): a better one may lie beyond."
        )
    return lines


def _table(finished: FinishedTuner, title: str, note: str, most: int) -> Table:
    keys, rows = finished.trials.varied, []
    for trial in finished.trials.ranked()[:most]:
        kind = Strong if trial is finished.best else str
        figures = [kind(form.number(figure, 6)) for figure in finished.figures(trial)]
        settings = [form.as_text(value) for value in finished.varied(trial).values()]
        rows.append([trial.name, finished.state(trial), *figures, *settings])
    header = ["trial", "state", "monitor", *finished.tuner.modes, *keys]
    return Table(title, note, header, rows, ("state", *keys))
