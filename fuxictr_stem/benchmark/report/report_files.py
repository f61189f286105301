"""The files of a benchmark: the leaderboard as Markdown, CSV and JSON, and the page with its pictures."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib

from fuxictr_stem.benchmark.report.analysis_tables import analysis_tables
from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.search_figures import search_pictures
from fuxictr_stem.benchmark.report.figures.style import STYLE, Picture
from fuxictr_stem.benchmark.report.formatting import Section, Table, file_name, render
from fuxictr_stem.benchmark.report.leaderboard_tables import leaderboard_tables, page_content
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard, Score, build_leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.benchmark.score.significance import RESAMPLES
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.runtime import outputs
from fuxictr_stem.tuning.trials import DONE, Trials

_ROLES = ("single_task", "baseline")
_FACTS = ("name", "dataset_id", "labels", "metrics", "seeds", "single_task")
# Columns of a comparison in the CSV file, which has each of them for both roles.
_COMPARISON = ("reference", "difference", "seeds", "p", "p_holm")
_INTERVALS = {
    "interval": {"low": "low", "high": "high", "bootstrap_p": "p"},
    "seeds_and_users": {f"seeds_and_users_{end}": end for end in ("low", "high", "p")},
}


def write_leaderboard(
    finished: FinishedBenchmark, folder: Path, resamples: int = RESAMPLES
) -> Leaderboard:
    """Write ``leaderboard.md``, ``.csv`` and ``.json``, and return the numbers, unrounded.

    The same runs give the same bytes.
    """
    outputs.check_writable(folder, "--out")
    leaderboard = build_leaderboard(finished, resamples)
    outputs.write_text(folder / "leaderboard.md", leaderboard_markdown(leaderboard))
    outputs.write_text(folder / "leaderboard.csv", _csv(leaderboard))
    outputs.write_json(folder / "leaderboard.json", _json(leaderboard))
    return leaderboard


def leaderboard_markdown(leaderboard: Leaderboard) -> str:
    """Return the whole leaderboard as Markdown."""
    tables = leaderboard_tables(leaderboard)
    sections = [(section.value, shown) for section, shown in tables.items()]
    return render("leaderboard.md", sections=sections, **page_content(leaderboard))


def _json(leaderboard: Leaderboard) -> dict[str, Any]:
    """Return all that the JSON file holds, floats unrounded."""
    finished = leaderboard.finished
    tasks: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in finished.names}
    for (name, label, metric), score in leaderboard.scores.items():
        tasks[name].setdefault(label, {})[metric] = _score(metric, score)
    models = [
        {
            "model": name,
            "role": leaderboard.roles[name],
            "settings": {
                run.expid: run.settings
                for trained in finished.models[name].values()
                for run in trained.runs
            },
            "tasks": tasks[name],
            "cost": asdict(leaderboard.costs[name]),
        }
        for name in finished.names
    ]
    return {
        **{key: getattr(finished, key) for key in _FACTS},
        "best_baseline": leaderboard.best_baseline,
        "tested_metric": leaderboard.deciding,
        "resamples": leaderboard.resamples,
        "users": leaderboard.users,
        "models": models,
        "notes": leaderboard.notes,
        "search": {expid: _search(trials) for expid, trials in finished.searches.items()},
        "search_edges": {expid: trials.edges() for expid, trials in finished.searches.items()},
        "failures": finished.failures,
        "facts": finished.facts,
    }


def _search(trials: Trials) -> list[dict[str, Any]]:
    best = trials.best
    return [
        {
            "settings": trial.settings,
            "monitor": trials.monitor,
            "monitor_mode": trials.mode,
            "value": trial.value if trial.state == DONE else None,
            "epochs": trial.epochs,
            "chosen": trial is best,
        }
        for trial in trials.every
    ]


def _score(metric: str, score: Score) -> dict[str, Any]:
    content = {**asdict(score), "higher_is_better": METRICS[metric].higher_is_better}
    for role in _ROLES:
        if (comparison := getattr(score, role)) is not None:
            content[role]["is_significant"] = comparison.is_significant
    return content


def _csv(leaderboard: Leaderboard) -> str:
    """Return one line per model, task and metric."""
    lines = []
    for (name, label, metric), score in leaderboard.scores.items():
        line: dict[str, Any] = {
            "dataset_id": leaderboard.finished.dataset_id,
            "model": name,
            "role": leaderboard.roles[name],
            "task": label,
            "metric": metric,
            "higher_is_better": METRICS[metric].higher_is_better,
            "mean": score.mean,
            "sd": score.sd,
            "seeds": len(score.values),
        }
        for role in _ROLES:
            comparison = getattr(score, role)
            values = {key: getattr(comparison, key, None) for key in _COMPARISON}
            for interval, columns in _INTERVALS.items():
                ends = getattr(comparison, interval, None)
                values |= {name: getattr(ends, end, None) for name, end in columns.items()}
            line |= {f"{role}_{key}": value for key, value in values.items()}
        lines.append({**line, **asdict(leaderboard.costs[name])})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def write_report(leaderboard: Leaderboard, analysis: Analysis | None, folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.png``, in place of an older report's pictures."""
    tables, finished = leaderboard_tables(leaderboard), leaderboard.finished
    pictures = chain(
        leaderboard_pictures(leaderboard), search_pictures(list(finished.searches.values()))
    )
    if analysis is not None:
        tables |= analysis_tables(analysis, finished.names)
        pictures = chain(pictures, analysis_pictures(analysis, leaderboard))
    write_page(folder, tables, pictures, page_content(leaderboard))


def write_page(
    folder: Path,
    tables: Mapping[Section, list[Table]],
    pictures: Iterable[Picture],
    content: Mapping[str, Any],
) -> None:
    """Write ``report.html`` and ``figures/*.png``, in place of an older page's pictures.

    The page holds everything and needs no network; its only script sorts tables. ``content`` is what it
    begins and ends with.
    """
    figures = folder / "figures"
    outputs.check_writable(figures, "--out")
    older = set(figures.glob("*.png"))
    drawn: dict[Section, list[tuple[Picture, str]]] = {}
    with matplotlib.rc_context(STYLE):
        for picture in pictures:
            path = figures / f"{picture.name}.png"
            older.discard(path)
            drawn.setdefault(picture.section, []).append((picture, _write(picture, path)))
    sections = [
        _section(section.value, tables.get(section, []), drawn.get(section, []))
        for section in Section
        if section in tables or section in drawn
    ]
    outputs.write_text(folder / "report.html", render("report.html", sections=sections, **content))
    for path in older:
        outputs.remove_file(path)


def _section(
    heading: str, tables: list[Table], pictures: list[tuple[Picture, str]]
) -> dict[str, Any]:
    """Return a part of the page: its pictures, each with the table of its numbers, and other tables."""
    by_picture = {table.picture: table for table in tables}
    names = {picture.name for picture, _ in pictures}
    entries: list[dict[str, Any]] = [
        {"title": p.title, "picture": p, "data": data, "table": by_picture.get(p.name)}
        for p, data in pictures
    ]
    entries += [
        {"title": table.title, "picture": None, "table": table}
        for table in tables
        if table.picture not in names
    ]
    for number, entry in enumerate(entries):
        entry["anchor"] = file_name(heading, entry["title"], str(number))
    return {"heading": heading, "anchor": file_name(heading), "entries": entries}


def _write(picture: Picture, path: Path) -> str:
    """Write a picture's file; return its bytes in base64."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png")
    with outputs.replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()
