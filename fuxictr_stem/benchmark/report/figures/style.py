"""How the report's pictures look, readable in print and colour-blind, and panels of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from fuxictr_stem.benchmark.report.formatting import Section
from fuxictr_stem.benchmark.score.leaderboard import BASELINE, PROPOSED, SINGLE_TASK

# M. Okabe and K. Ito, Color Universal Design, 2008; without yellow, which is faint on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
LIGHT_GREY, GREY, DARK_GREY = "#cccccc", "#999999", "#595959"
SHADE = "#f1ecec"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "p", "*", "d")
OF_ROLE = {SINGLE_TASK: (BLACK, "D"), BASELINE: (BLUE, "o"), PROPOSED: (VERMILLION, "s")}
HEAT = "cividis"
_NOTE: Any = {"ha": "center", "va": "center", "fontsize": 9}
_NOTE |= {"color": DARK_GREY, "backgroundcolor": "white"}

WIDTH = 7.5  # inches: fonts stay readable when a page or a phone shows the whole width
DPI = 150
STYLE: Any = {  # Matplotlib types the keys of newer releases only
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "text.parse_math": False,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True)
class Picture:
    """A picture of the report."""

    section: Section  # the part of the report that it is in
    name: str  # its file's name, without the ending
    title: str
    caption: str  # how to read it
    alt: str  # what it shows, for those who do not see it
    figure: Figure


def wrapped(name: str, width: int = 20) -> str:
    """Return a name in lines of at most a width, broken after ``_``, ``.``, spaces or dashes."""
    lines = [""]
    for piece in re.findall(r"[^_.\s-]*[_.\s-]?", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1]) > width + 1:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def grid(
    count: int, columns: int, panel_height: float, extra: float = 0.6, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in rows of at most so many columns, and its panels.

    Heights are in inches; the extra one is for what is above and below all panels. Options, such as
    ``sharex``, are those of `Figure.subplots`.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, rows * panel_height + extra), dpi=DPI, layout="constrained")
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False, **options)))
    for unused in axes[count:]:
        unused.set_axis_off()
    for panel in axes[:count]:
        panel.grid(visible=True)
        panel.set_axisbelow(True)
    return figure, axes[:count]


def columns_of(panels: int) -> int:
    """Return how many panels of models there are in a row."""
    return panels if panels <= 3 else 2


def series(number: int) -> tuple[str, str]:
    """Return the colour and the marker of one of several lines or points."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def legend(
    figure: Figure, styles: Mapping[str, tuple[str, str]], columns: int, place: Any, line: Any = ""
) -> None:
    """Name the colour and the marker of each label outside all panels, at a ``loc`` of Matplotlib."""
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=line, label=label)
        for label, (colour, marker) in styles.items()
    ]
    figure.legend(handles=handles, loc=place, ncols=columns, frameon=False)


def plain_log_ticks(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis with plain numbers, as in ``0.02`` or ``1e-05``, few enough to read."""
    within = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=within))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Panel:
    """One panel."""

    title: str  # its heading, a task as a rule
    # By model: value, lower and upper end of its range; absent models are left blank.
    points: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    line: float | None = None  # where there is a vertical line, or None
    hollow: frozenset[str] = frozenset()  # models whose marker is hollow
    higher_is_better: bool | None = None  # whether left of the line is bad and shaded, or right


def draw_models(
    panels: Sequence[Panel], names: Sequence[str], roles: Mapping[str, str], x_label: str
) -> Figure:
    """Draw panels of models, in the order of ``names`` from top to bottom.

    A model's role gives its colour and marker; ``x_label`` says what the values are, with their unit.
    """
    height = 0.9 + 0.34 * len(names)
    figure, axes = grid(len(panels), columns_of(len(panels)), height, 0.7, sharey=True)
    for panel_axes, panel in zip(axes, panels, strict=True):
        _draw_panel(panel_axes, panel, names, roles)
        panel_axes.set_yticks(range(len(names)), [wrapped(name, 22) for name in names])
        panel_axes.set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(x_label, fontsize=10)
    present = {roles[name] for name in names}
    shown = {role: look for role, look in OF_ROLE.items() if role in present}
    legend(figure, shown, len(shown), "outside upper center")
    return figure


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str], roles: Mapping[str, str]) -> None:
    axes.set_title(wrapped(panel.title, 30), loc="left")
    if panel.line is not None:
        axes.axvline(panel.line, color=GREY, linestyle="--", linewidth=1.2)
    for y, name in enumerate(names):
        if name not in panel.points:
            axes.text(0.5, y, "no result", transform=axes.get_yaxis_transform(), **_NOTE)
            continue
        value, low, high = panel.points[name]
        colour, marker = OF_ROLE[roles[name]]
        axes.errorbar(
            value,
            y,
            xerr=[[value - low], [high - value]],
            color=colour,
            marker=marker,
            markersize=6,
            markerfacecolor="white" if name in panel.hollow else colour,
            capsize=3,
            linewidth=1.4,
        )
    if panel.line is not None and panel.higher_is_better is not None:
        low, high = axes.get_xlim()
        bad = (low, panel.line) if panel.higher_is_better else (panel.line, high)
        # Where all models are on the good side, there is nothing of the other to shade.
        if bad[0] < bad[1]:
            axes.axvspan(*bad, color=SHADE, zorder=0, linewidth=0)
        axes.set_xlim(low, high)
    # So few that their labels do not touch.
    axes.xaxis.set_major_locator(MaxNLocator(4))
