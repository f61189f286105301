"""The report: one HTML file with tables and pictures, and the pictures as files."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib

from fuxictr_stem.benchmark.report.analysis_tables import analysis_tables
from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.search_figures import ShownSearch, search_pictures
from fuxictr_stem.benchmark.report.figures.style import STYLE, Picture
from fuxictr_stem.benchmark.report.formatting import Section, file_name
from fuxictr_stem.benchmark.report.leaderboard_tables import leaderboard_tables, page_content
from fuxictr_stem.benchmark.report.render import Table, as_text, render
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.runtime import outputs
from fuxictr_stem.tuning.trial import DONE, FAILED, Trial


def write_report(leaderboard: Leaderboard, analysis: Analysis | None, folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.png``, in place of an older report's pictures."""
    tables = leaderboard_tables(leaderboard)
    if analysis is not None:
        tables |= analysis_tables(analysis, leaderboard.finished.names)

    def pictures() -> Iterator[Picture]:
        yield from leaderboard_pictures(leaderboard)
        yield from search_pictures(_searches(leaderboard.finished))
        if analysis is not None:
            yield from analysis_pictures(analysis, leaderboard)

    write_page(folder, tables, pictures, page_content(leaderboard))


def _searches(finished: FinishedBenchmark) -> list[ShownSearch]:
    searches = []
    for expid, trials in finished.trials.items():
        shown = [
            Trial(
                place,
                expid,
                trial["settings"],
                FAILED if trial["value"] is None else DONE,
                math.nan if trial["value"] is None else trial["value"],
            )
            for place, trial in enumerate(trials)
        ]
        first = trials[0] if trials else {}
        monitor, mode = as_text(first.get("monitor", "")), first.get("monitor_mode", "max")
        searches.append(ShownSearch(expid, monitor, mode == "max", shown))
    return searches


def write_page(
    folder: Path,
    tables: Mapping[Section, list[Table]],
    pictures: Callable[[], Iterator[Picture]],
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
        for picture in pictures():
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
    shown: list[tuple[str, Picture | None, str, Table | None]] = [
        (picture.title, picture, data, by_picture.get(picture.name)) for picture, data in pictures
    ]
    names = {picture.name for picture, _ in pictures}
    shown += [(table.title, None, "", table) for table in tables if table.picture not in names]
    keys = ("title", "picture", "data", "table", "anchor")
    anchors = (file_name(heading, entry[0], str(number)) for number, entry in enumerate(shown))
    entries = [
        dict(zip(keys, (*entry, anchor), strict=True))
        for entry, anchor in zip(shown, anchors, strict=True)
    ]
    return {"heading": heading, "anchor": file_name(heading), "entries": entries}


def _write(picture: Picture, path: Path) -> str:
    """Write a picture's file; return its bytes in base64."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png")
    with outputs.replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()
