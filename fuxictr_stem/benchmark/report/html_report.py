"""The report: one HTML file with tables and pictures, and the pictures as files."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import matplotlib

from fuxictr_stem.benchmark.report.analysis_tables import analysis_tables
from fuxictr_stem.benchmark.report.figures.analysis_figures import analysis_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.style import STYLE, Picture
from fuxictr_stem.benchmark.report.formatting import Section
from fuxictr_stem.benchmark.report.leaderboard_tables import leaderboard_tables, page_content
from fuxictr_stem.benchmark.report.render import render
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.runtime import outputs


def write_report(leaderboard: Leaderboard, analysis: Analysis | None, folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.png``, in place of an older report's pictures.

    The page holds everything: it needs no network and no script.
    """
    figures = folder / "figures"
    outputs.check_writable(figures, "--out")
    older = set(figures.glob("*.png"))
    tables = leaderboard_tables(leaderboard)
    if analysis is not None:
        tables |= analysis_tables(analysis, leaderboard.finished.names)
    pictures: dict[Section, list[tuple[Picture, str]]] = {}
    with matplotlib.rc_context(STYLE):
        drawn = [*leaderboard_pictures(leaderboard)]
        drawn += analysis_pictures(analysis, leaderboard) if analysis is not None else []
        for picture in drawn:
            path = figures / f"{picture.name}.png"
            older.discard(path)
            pictures.setdefault(picture.section, []).append((picture, _write(picture, path)))
    sections = [
        (section.value, tables.get(section, []), pictures.get(section, []))
        for section in Section
        if section in tables or section in pictures
    ]
    page = render("report.html", sections=sections, **page_content(leaderboard))
    outputs.write_text(folder / "report.html", page)
    for path in older:
        outputs.remove_file(path)


def _write(picture: Picture, path: Path) -> str:
    """Write a picture's file; return its bytes in base64."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png")
    with outputs.replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()
