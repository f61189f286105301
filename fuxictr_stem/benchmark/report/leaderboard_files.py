"""The leaderboard's files: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.report.leaderboard_tables import leaderboard_tables, page_content
from fuxictr_stem.benchmark.report.render import render
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import (
    Comparison,
    Leaderboard,
    Score,
    build_leaderboard,
    higher_is_better,
)
from fuxictr_stem.benchmark.score.significance import RESAMPLES
from fuxictr_stem.runtime import outputs

# Where the columns of a comparison come from; the file has each of them for both references.
_COMPARISON = {
    "reference": "reference",
    "difference": "difference",
    "seeds": "seeds",
    "p": "p",
    "p_holm": "p_holm",
    "low": "interval.low",
    "high": "interval.high",
    "bootstrap_p": "interval.p",
    "seeds_and_users_low": "seeds_and_users.low",
    "seeds_and_users_high": "seeds_and_users.high",
    "seeds_and_users_p": "seeds_and_users.p",
}


def write_leaderboard(study: Study, folder: Path, resamples: int = RESAMPLES) -> Leaderboard:
    """Write ``leaderboard.md``, ``.csv`` and ``.json``, and return the numbers, unrounded.

    The same study gives the same bytes.
    """
    outputs.check_writable(folder, "--out")
    leaderboard = build_leaderboard(study, resamples)
    outputs.write_text(folder / "leaderboard.md", leaderboard_markdown(study, leaderboard))
    outputs.write_text(folder / "leaderboard.csv", _csv(study, leaderboard))
    outputs.write_json(folder / "leaderboard.json", _json(study, leaderboard))
    return leaderboard


def leaderboard_markdown(study: Study, leaderboard: Leaderboard) -> str:
    """Return the whole leaderboard as Markdown."""
    tables = leaderboard_tables(study, leaderboard)
    sections = [(section.value, shown) for section, shown in tables.items()]
    return render("leaderboard.md", sections=sections, **page_content(study, leaderboard))


def _json(study: Study, leaderboard: Leaderboard) -> dict[str, Any]:
    """Return all that the JSON file holds, floats unrounded."""
    models = [
        {
            "model": name,
            "role": leaderboard.roles[name],
            "settings": {
                run.expid: run.settings
                for entry in study.entries[name].values()
                for run in entry.runs
            },
            "tasks": {
                label: {metric: _score(metric, score) for metric, score in by_metric.items()}
                for label, by_metric in leaderboard.scores[name].items()
            },
            "cost": asdict(leaderboard.costs[name]),
        }
        for name in study.names
    ]
    return {
        "name": study.name,
        "dataset_id": study.dataset_id,
        "labels": study.labels,
        "metrics": study.metrics,
        "seeds": study.seeds,
        "single_task": study.single_task,
        "best_baseline": leaderboard.best_baseline,
        "tested_metric": leaderboard.deciding,
        "resamples": leaderboard.resamples,
        "users": leaderboard.users,
        "models": models,
        "notes": leaderboard.notes,
        "search": study.trials,
        "search_edges": {expid: at_edge(trials) for expid, trials in study.trials.items()},
        "failures": study.failures,
        "facts": study.facts,
    }


def _score(metric: str, score: Score) -> dict[str, Any]:
    comparisons = {role: _comparison(getattr(score, role)) for role in ("single_task", "baseline")}
    return {**asdict(score), "higher_is_better": higher_is_better(metric), **comparisons}


def _comparison(comparison: Comparison | None) -> dict[str, Any] | None:
    if comparison is None:
        return None
    intervals = {
        name: interval._asdict() if interval else None
        for name in ("interval", "seeds_and_users")
        for interval in [getattr(comparison, name)]
    }
    return {**asdict(comparison), **intervals, "is_significant": comparison.is_significant}


def _csv(study: Study, leaderboard: Leaderboard) -> str:
    """Return one line per model, task and metric."""
    lines = []
    for name, label, metric, score in leaderboard.each():
        line: dict[str, Any] = {
            "dataset_id": study.dataset_id,
            "model": name,
            "role": leaderboard.roles[name],
            "task": label,
            "metric": metric,
            "higher_is_better": higher_is_better(metric),
            "mean": score.mean,
            "sd": score.sd,
            "seeds": len(score.values),
        }
        for role in ("single_task", "baseline"):
            comparison = getattr(score, role)
            line |= {f"{role}_{key}": _get(comparison, path) for key, path in _COMPARISON.items()}
        lines.append({**line, **asdict(leaderboard.costs[name])})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _get(value: Any, path: str) -> Any:
    """Return an attribute of an attribute, or None where one of them is absent."""
    for name in path.split("."):
        value = getattr(value, name, None)
    return value
