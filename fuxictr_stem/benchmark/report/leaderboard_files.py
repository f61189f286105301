"""The leaderboard's files: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.report.leaderboard_tables import leaderboard_tables, page_content
from fuxictr_stem.benchmark.report.render import render
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import (
    Comparison,
    Leaderboard,
    Score,
    build_leaderboard,
    higher_is_better,
)
from fuxictr_stem.benchmark.score.significance import RESAMPLES
from fuxictr_stem.runtime import outputs
from fuxictr_stem.tuning.space import at_edge

_ROLES = ("single_task", "baseline")
_FACTS = ("name", "dataset_id", "labels", "metrics", "seeds", "single_task")
# Columns of a comparison in the CSV file, which has each of them for both roles.
_COMPARISON = ("reference", "difference", "seeds", "p", "p_holm")
_INTERVALS = {
    "interval": ("low", "high", "bootstrap_p"),
    "seeds_and_users": ("seeds_and_users_low", "seeds_and_users_high", "seeds_and_users_p"),
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
        "search": finished.trials,
        "search_edges": {expid: at_edge(trials) for expid, trials in finished.trials.items()},
        "failures": finished.failures,
        "facts": finished.facts,
    }


def _score(metric: str, score: Score) -> dict[str, Any]:
    comparisons = {role: _comparison(getattr(score, role)) for role in _ROLES}
    return {**asdict(score), "higher_is_better": higher_is_better(metric), **comparisons}


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    intervals = {name: getattr(comparison, name) for name in _INTERVALS}
    ends = {name: ends._asdict() if ends else None for name, ends in intervals.items()}
    return {**asdict(comparison), **ends, "is_significant": comparison.is_significant}


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
            "higher_is_better": higher_is_better(metric),
            "mean": score.mean,
            "sd": score.sd,
            "seeds": len(score.values),
        }
        for role in _ROLES:
            comparison = getattr(score, role)
            values = {key: getattr(comparison, key, None) for key in _COMPARISON}
            for interval, columns in _INTERVALS.items():
                ends = getattr(comparison, interval, None) or (None, None, None)
                values |= dict(zip(columns, ends, strict=True))
            line |= {f"{role}_{key}": value for key, value in values.items()}
        lines.append({**line, **asdict(leaderboard.costs[name])})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
