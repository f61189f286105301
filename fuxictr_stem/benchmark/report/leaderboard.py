"""The leaderboard's files: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.report.score_tables import leaderboard_markdown
from fuxictr_stem.benchmark.run.search import at_edge
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import (
    Comparison,
    Leaderboard,
    build_leaderboard,
    higher_is_better,
)
from fuxictr_stem.benchmark.score.significance import RESAMPLES
from fuxictr_stem.runtime import outputs


def write_leaderboard(study: Study, folder: Path, resamples: int = RESAMPLES) -> Leaderboard:
    """Write ``leaderboard.md``, ``.csv`` and ``.json``; the same study gives the same bytes.

    Args:
        study: The finished runs.
        folder: Where to write; made if need be.
        resamples: Resamples of the bootstrap over test users.

    Returns:
        The numbers, unrounded.

    Raises:
        OutputError: If the folder cannot be written.
    """
    outputs.check_writable(folder, "--out")
    leaderboard = build_leaderboard(study, resamples)
    text = leaderboard_markdown(study, leaderboard)
    outputs.write_text(folder / "leaderboard.md", text)
    _write_csv(folder / "leaderboard.csv", study, leaderboard)
    outputs.write_json(folder / "leaderboard.json", _content(study, leaderboard))
    return leaderboard


def _comparison_content(found: Comparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    intervals = {
        name: own._asdict() if own else None
        for name, own in (
            ("interval", found.interval),
            ("seeds_and_users", found.seeds_and_users),
        )
    }
    return {**asdict(found), **intervals, "is_significant": found.is_significant}


def _content(study: Study, leaderboard: Leaderboard) -> dict[str, Any]:
    """Return all that the JSON file holds, floats unrounded."""
    models = []
    for name in study.names:
        tasks = {
            label: {
                metric: {
                    **asdict(score),
                    "higher_is_better": higher_is_better(metric),
                    "single_task": _comparison_content(score.single_task),
                    "baseline": _comparison_content(score.baseline),
                }
                for metric, score in by_metric.items()
            }
            for label, by_metric in leaderboard.scores[name].items()
        }
        models.append(
            {
                "model": name,
                "role": leaderboard.roles[name],
                "settings": {
                    run.expid: run.settings
                    for entry in study.entries[name].values()
                    for run in entry.runs
                },
                "tasks": tasks,
                "cost": asdict(leaderboard.costs[name]),
            }
        )
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


def _write_csv(path: Path, study: Study, leaderboard: Leaderboard) -> None:
    """Write one line a model, task and metric."""
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
        for prefix, found in (("single_task", score.single_task), ("baseline", score.baseline)):
            interval = found.interval if found else None
            both = found.seeds_and_users if found else None
            line |= {
                f"{prefix}_reference": found.reference if found else None,
                f"{prefix}_difference": found.difference if found else None,
                f"{prefix}_seeds": found.seeds if found else None,
                f"{prefix}_p": found.p if found else None,
                f"{prefix}_p_holm": found.p_holm if found else None,
                f"{prefix}_low": interval.low if interval else None,
                f"{prefix}_high": interval.high if interval else None,
                f"{prefix}_bootstrap_p": interval.p if interval else None,
                f"{prefix}_seeds_and_users_low": both.low if both else None,
                f"{prefix}_seeds_and_users_high": both.high if both else None,
                f"{prefix}_seeds_and_users_p": both.p if both else None,
            }
        lines.append({**line, **asdict(leaderboard.costs[name])})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    outputs.write_text(path, text.getvalue())
