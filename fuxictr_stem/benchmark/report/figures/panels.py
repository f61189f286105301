"""Panels with the models one below the other: a point and a range each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.benchmark.report.figures import style


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
    figure, axes = style.grid(len(panels), style.columns_of(len(panels)), height, 0.7, sharey=True)
    for panel_axes, panel in zip(axes, panels, strict=True):
        _draw_panel(panel_axes, panel, names, roles)
        panel_axes.set_yticks(range(len(names)), [style.wrapped(name, 22) for name in names])
        panel_axes.set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(x_label, fontsize=10)
    present = {roles[name] for name in names}
    shown = {role: look for role, look in style.OF_ROLE.items() if role in present}
    style.legend(figure, shown, len(shown), "outside upper center")
    return figure


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str], roles: Mapping[str, str]) -> None:
    axes.set_title(style.wrapped(panel.title, 30), loc="left")
    if panel.line is not None:
        axes.axvline(panel.line, color=style.GREY, linestyle="--", linewidth=1.2)
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
                color=style.DARK_GREY,
                backgroundcolor="white",
            )
            continue
        value, low, high = panel.points[name]
        colour, marker = style.OF_ROLE[roles[name]]
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
            axes.axvspan(*bad, color=style.SHADE, zorder=0, linewidth=0)
        axes.set_xlim(low, high)
    # So few that their labels do not touch.
    axes.xaxis.set_major_locator(MaxNLocator(4))
