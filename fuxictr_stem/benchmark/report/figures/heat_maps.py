"""Heat maps with a number in every cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fuxictr_stem.benchmark.report.figures import style

_ROW, _ABOVE, _ABOVE_UPRIGHT = 0.27, 0.6, 1.8  # inches


@dataclass(frozen=True)
class Grid:
    """Values of one heat map."""

    title: str
    rows: list[str]
    columns: list[str]
    values: np.ndarray  # (rows, columns); NaN where there is no value


def draw_heat_maps(
    grids: Sequence[Grid],
    colour_label: str,
    norm: Normalize,
    text: Callable[[float], str],
    title: str,
    colours: str = style.HEAT,
) -> Figure:
    """Draw heat maps one below the other, on one scale, each value as text in its cell.

    A value that the scale cannot show, such as an exact zero on a logarithmic one, is white and
    hatched; a missing one is left blank. The colours' label says what the values are, with their unit.
    """
    widest = max(len(grid.columns) for grid in grids)
    names = [_column_names(grid, widest) for grid in grids]
    heights = [
        _ROW * len(grid.rows) + (_ABOVE if flat else _ABOVE_UPRIGHT)
        for grid, (_, flat) in zip(grids, names, strict=True)
    ]
    figure = Figure(figsize=(style.WIDTH, sum(heights) + 1.1), dpi=style.DPI, layout="constrained")
    figure.suptitle(style.wrapped(title, 80), fontsize=9, x=0.01, ha="left")
    every = figure.subplots(len(grids) + 1, 1, squeeze=False, height_ratios=[*heights, 0.15])[:, 0]
    mappable = ScalarMappable(norm, matplotlib.colormaps[colours])
    for axes, grid, (columns, flat) in zip(every, grids, names, strict=False):
        for (row, column), value in np.ndenumerate(grid.values):
            if not np.isnan(value):
                _draw_cell(axes, row, column, float(value), mappable, text(float(value)))
        axes.set_ylim(len(grid.rows) - 0.5, -0.5)
        axes.set_yticks(range(len(grid.rows)), [style.wrapped(name, 36) for name in grid.rows])
        axes.set_xlim(-0.5, widest - 0.5)
        axes.set_xticks(range(len(columns)), columns, rotation=0 if flat else 90)
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.set_title(grid.title, loc="left")
    bar = figure.colorbar(mappable, cax=every[-1], orientation="horizontal")
    bar.set_label(colour_label)
    if isinstance(norm, LogNorm):
        style.plain_log_ticks(bar.ax.xaxis, *bar.ax.get_xlim())
    return figure


def _column_names(grid: Grid, widest: int) -> tuple[list[str], bool]:
    """Return the columns' names in lines, and whether they fit above the cells, not upright."""
    room = 60 // widest
    pieces = [piece for name in grid.columns for piece in re.split(r"[_.\s-]", name)]
    flat = all(len(piece) <= room for piece in pieces)
    return [style.wrapped(name, room if flat else 18) for name in grid.columns], flat


def _draw_cell(
    axes: Axes, row: int, column: int, value: float, mappable: ScalarMappable, text: str
) -> None:
    shown = not (isinstance(mappable.norm, LogNorm) and value <= 0)
    colour = mappable.to_rgba(np.array(value)) if shown else (1.0, 1.0, 1.0, 1.0)
    edge, hatch = ("white", None) if shown else (style.GREY, "////")
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(
        Rectangle(corner, 1, 1, facecolor=colour, edgecolor=edge, hatch=hatch, linewidth=0.5)
    )
    # Rec. 709 luma: dark cells take white figures; from here on black has more contrast.
    dark = np.dot(colour[:3], (0.2126, 0.7152, 0.0722)) <= 0.45
    figures = "white" if dark else "black"
    label = axes.text(column, row, text, ha="center", va="center", fontsize=9, color=figures)
    if not shown:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
