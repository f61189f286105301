"""Panels with the models one below the other: a point and a range each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fuxictr_stem.benchmark.report.figures.style import (
    DARK_GREY,
    GREY,
    OF_ROLE,
    SHADE,
    few_ticks,
    grid,
    in_a_row,
    wrapped,
)


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: Its heading, a task as a rule.
        points: By model: value, lower and upper end of its range; absent models are left blank.
        line: Where a vertical line stands, or None.
        hollow: Models whose marker is hollow.
        higher_is_better: Which side of the line is the bad one, which is shaded; None for neither.
    """

    title: str
    points: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    line: float | None = None
    hollow: frozenset[str] = frozenset()
    higher_is_better: bool | None = None


def draw_models(
    panels: Sequence[Panel],
    names: Sequence[str],
    roles: Mapping[str, str],
    x_label: str,
) -> Figure:
    """Draw panels of models.

    Args:
        panels: The panels.
        names: The models from top to bottom.
        roles: Role of each model, which gives its colour and marker.
        x_label: What the values are, with their unit.
    """
    figure, axes = grid(
        len(panels), in_a_row(len(panels)), 0.9 + 0.34 * len(names), 0.7, sharey=True
    )
    for own, panel in zip(axes, panels, strict=True):
        _draw_panel(own, panel, names, roles)
        own.set_yticks(range(len(names)), [wrapped(name, 22) for name in names])
        own.set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(x_label, fontsize=10)
    shown = [role for role in OF_ROLE if role in {roles[name] for name in names}]
    handles = [
        Line2D([], [], color=OF_ROLE[role][0], marker=OF_ROLE[role][1], linestyle="", label=role)
        for role in shown
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(shown), frameon=False)
    return figure


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str], roles: Mapping[str, str]) -> None:
    axes.set_title(wrapped(panel.title, 30), loc="left")
    axes.grid(axis="both")
    axes.set_axisbelow(True)
    if panel.line is not None:
        axes.axvline(panel.line, color=GREY, linestyle="--", linewidth=1.2)
    for y, name in enumerate(names):
        if name not in panel.points:
            axes.text(
                0.5,
                y,
                "no result",
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                fontsize=9,
                color=DARK_GREY,
                backgroundcolor="white",
            )
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
        _shade_bad_side(axes, panel.line, panel.higher_is_better)
    few_ticks(axes)


def _shade_bad_side(axes: Axes, line: float, higher_is_better: bool) -> None:
    low, high = axes.get_xlim()
    ends = (low, line) if higher_is_better else (line, high)
    # Where all models are on the good side, there is nothing of the other to shade.
    if ends[0] < ends[1]:
        axes.axvspan(*ends, color=SHADE, zorder=0, linewidth=0)
    axes.set_xlim(low, high)
