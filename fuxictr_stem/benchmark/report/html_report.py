"""The report: one HTML file with tables and pictures, and the pictures as files."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import matplotlib

from fuxictr_stem.benchmark.report.analysis_tables import audit_table, rank_table, slice_tables
from fuxictr_stem.benchmark.report.figures.analysis_figures import inside_pictures, slice_pictures
from fuxictr_stem.benchmark.report.figures.score_figures import leaderboard_pictures
from fuxictr_stem.benchmark.report.figures.style import STYLE, Picture
from fuxictr_stem.benchmark.report.formatting import Section
from fuxictr_stem.benchmark.report.score_tables import definitions, facts, sections, title
from fuxictr_stem.benchmark.report.summary import summary
from fuxictr_stem.benchmark.score.finished_runs import Study
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.benchmark.score.slice_scores import Slices
from fuxictr_stem.runtime import outputs

__all__ = ["Analysis", "Slices", "write_report"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td.text { text-align: left; }
thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
figure { margin: 1.5rem 0; break-inside: avoid; }
figure img { width: 100%; max-width: 50rem; height: auto; }
figcaption { font-size: .875rem; color: #444; max-width: 50rem; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
@media print { body { max-width: none; font-size: 10pt; } .scroll { overflow: visible; }
  table { font-size: 7.5pt; } th, td { padding: .1rem .3rem; } tr { break-inside: avoid; } }
"""


def write_report(
    study: Study, leaderboard: Leaderboard, analysis: Analysis | None, folder: Path
) -> None:
    """Write ``report.html`` and ``figures/*.png``.

    The page holds everything: it needs no network and no script. Pictures of an older report in the
    folder are removed.

    Args:
        study: The finished runs.
        leaderboard: Their numbers.
        analysis: A look inside the models, or None.
        folder: Where to write; made if need be.

    Raises:
        OutputError: If the folder cannot be written.
    """
    figures = folder / "figures"
    outputs.check_writable(figures, "--out")
    older = set(figures.glob("*.png"))
    heading = html.escape(title(study))
    with matplotlib.rc_context(STYLE):
        written, parts = _body(study, leaderboard, analysis, figures)
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n"
        f"{''.join(parts)}</body>\n</html>\n"
    )
    outputs.write_text(folder / "report.html", page)
    for path in older - written:
        outputs.remove_file(path)


def _body(
    study: Study, leaderboard: Leaderboard, analysis: Analysis | None, figures: Path
) -> tuple[set[Path], list[str]]:
    """Write the pictures' files; return them and the parts of the page."""
    parts = [_heading("In short") + _list(summary(study, leaderboard))]
    parts.append(_heading("How it was made") + _terms(facts(study)))
    tables = sections(study, leaderboard)
    pictures = list(leaderboard_pictures(study, leaderboard))
    if analysis is not None:
        pictures += inside_pictures(analysis)
        if analysis.slices is not None:
            pictures += slice_pictures(analysis.slices, leaderboard)
            tables[Section.SLICES] = slice_tables(analysis.slices, leaderboard)
        if analysis.findings:
            tables[Section.FLOW] = [audit_table(analysis.findings)]
        if any(analysis.tables.values()):
            tables[Section.TABLES] = [rank_table(analysis.tables)]
    for section in Section:
        drawn = [
            _figure(picture, _file(picture, figures))
            for picture in pictures
            if picture.section == section
        ]
        written = [table.to_html() for table in tables.get(section, [])]
        if drawn or written:
            parts.append("".join([_heading(section.value), *drawn, *written]))
    parts.append(_heading("Definitions") + _list(definitions(study, leaderboard)))
    return {_file(picture, figures) for picture in pictures}, parts


def _file(picture: Picture, figures: Path) -> Path:
    return figures / f"{picture.name}.png"


def _heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>\n"


def _list(lines: list[str]) -> str:
    return "<ul>\n" + "".join(f"<li>{html.escape(line)}</li>\n" for line in lines) + "</ul>\n"


def _terms(pairs: list[tuple[str, str]]) -> str:
    terms = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>\n" for key, value in pairs
    )
    return f"<dl>\n{terms}</dl>\n"


def _figure(picture: Picture, path: Path) -> str:
    """Write a picture's file and return it as a part of the page."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png")
    with outputs.replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f"<figure>\n<h3>{html.escape(picture.title)}</h3>\n"
        f'<img alt="{html.escape(picture.alt)}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{html.escape(picture.caption)}</figcaption>\n</figure>\n"
    )
