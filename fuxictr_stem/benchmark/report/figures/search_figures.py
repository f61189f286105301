"""Pictures of searches: results by trial, importance of the keys, parallel coordinates, Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.benchmark.report.figures import style
from fuxictr_stem.benchmark.report.figures.style import Picture
from fuxictr_stem.benchmark.report.formatting import Section, as_text, number
from fuxictr_stem.tuning.trials import DONE, FAILED, PRUNED, Trial, Trials, importance

_STATES = {DONE: (style.BLUE, "o"), PRUNED: (style.GREY, "v"), FAILED: (style.BLACK, "x")}
_MOST_TICKS = 5
_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
_WIDE = 20  # ratio from which on an axis is logarithmic


def search_pictures(searches: Sequence[Trials]) -> Iterator[Picture]:
    """Yield the pictures of searches; those of one trial are left out."""
    shown = [search for search in searches if len(search.done) > 1 and search.varied]
    if shown:
        yield _by_trial(shown)
        yield _importance(shown)
        yield _parallel(shown)


def _by_trial(searches: Sequence[Trials]) -> Picture:
    columns = style.columns_of(len(searches))
    figure, axes = style.grid(len(searches), columns, 2.6, 0.5)
    for panel, search in zip(axes, searches, strict=True):
        panel.set_title(style.wrapped(search.name, 40), loc="left")
        values = [trial.value if trial.state == DONE else math.nan for trial in search.every]
        best = (np.fmax if search.mode == "max" else np.fmin).accumulate(values)
        numbers = [trial.number + 1 for trial in search.every]
        panel.step(numbers, best, where="post", color=style.VERMILLION, linewidth=1.2, zorder=1)
        for state, (colour, marker) in _STATES.items():
            of_state = [t for t in search.every if t.state == state != FAILED]
            x, y = [t.number + 1 for t in of_state], [t.value for t in of_state]
            panel.scatter(x, y, color=colour, marker=marker, s=26, zorder=2)
        failed = [trial.number + 1 for trial in search.every if trial.state == FAILED]
        bottom = panel.get_xaxis_transform()
        panel.scatter(failed, [0.02] * len(failed), color=style.BLACK, marker="x", transform=bottom)
        panel.set_xlabel("trial")
        panel.set_ylabel(style.wrapped(f"{as_text(search.monitor)} on valid", 30))
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    style.legend(figure, _STATES, 3, "outside upper right")
    return Picture(
        Section.SEARCH,
        "search-trials",
        "Monitor by trial",
        "Each point is a trial; the line is the best so far. A pruned trial is at its last "
        "evaluation, a failed one has no value and is marked at the bottom. If a line still "
        "improves at its end, more trials may help.",
        f"Monitor on valid by trial of {len(searches)} searches, with the best so far.",
        figure,
    )


def _importance(searches: Sequence[Trials]) -> Picture:
    shares = [
        importance([trial.settings for trial in s.done], [trial.value for trial in s.done])
        for s in searches
    ]
    most = max(map(len, shares))
    columns = style.columns_of(len(searches))
    figure, axes = style.grid(len(searches), columns, 0.9 + 0.28 * most, 0.3, sharex=True)
    for panel, search, of_search in zip(axes, searches, shares, strict=True):
        ranked = sorted(of_search.items(), key=lambda item: (math.isnan(item[1]), -item[1]))
        values = [0.0 if math.isnan(share) else share for _, share in ranked]
        panel.barh(range(len(ranked)), values, color=style.BLUE, height=0.6)
        for place, (_, share) in enumerate(ranked):
            text = "too few trials" if math.isnan(share) else number(round(share, 2), 2)
            panel.text(values[place] + 0.02, place, text, va="center", fontsize=9)
        panel.set_yticks(range(len(ranked)), [style.wrapped(key, 26) for key, _ in ranked])
        panel.set_ylim(most - 0.4, -0.6)
        panel.set_xlim(0, 1.2)
        panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
        panel.set_title(style.wrapped(search.name, 40), loc="left")
    figure.supxlabel("share of the variance between trials", fontsize=10)
    return Picture(
        Section.SEARCH,
        "search-importance",
        "Importance of the keys",
        "How much of the variance of the monitor between finished trials each key explains by "
        "itself, beyond what chance would explain. Keys that only matter together have none. TPE "
        "tries good values more often, so its trials show the importance in that region only.",
        f"Share of the variance that each key explains, of {len(searches)} searches.",
        figure,
    )


def _parallel(searches: Sequence[Trials]) -> Picture:
    figure, axes = style.grid(len(searches), 1, 2.9, 0.3)
    for panel, search in zip(axes, searches, strict=True):
        _draw_parallel(panel, search)
    return Picture(
        Section.SEARCH,
        "search-parallel",
        "Parallel coordinates",
        "Each line is a finished trial: its settings from left to right, its monitor at the right. Yellow "
        "is better, dark blue worse; the best is red and thick. Where yellow lines meet, a value is good; "
        "where they spread, it matters little.",
        f"Parallel coordinates of the trials of {len(searches)} searches.",
        figure,
    )


def _draw_parallel(panel: Axes, search: Trials) -> None:
    panel.set_title(style.wrapped(search.name, 60), loc="left", pad=10)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    columns = [[trial.settings.get(key) for trial in search.done] for key in search.varied]
    columns.append([trial.value for trial in search.done])
    heights = []
    for place, column in enumerate(columns):
        panel.axvline(place, color=style.GREY, linewidth=1, zorder=1)
        at, ticks = _scale(column)
        heights.append(at)
        for height, text in ticks:
            panel.text(place + 0.03, height, text, fontsize=8, va="center", zorder=4, bbox=_BOX)
    lines = np.array(heights).T
    values = np.array([trial.value for trial in search.done]) * (1 if search.mode == "max" else -1)
    norm, colours = Normalize(values.min(), values.max()), matplotlib.colormaps[style.HEAT]
    for line, value in sorted(
        zip(lines.tolist(), values.tolist(), strict=True), key=lambda p: p[1]
    ):
        panel.plot(line, color=colours(norm(value)), linewidth=1.1, alpha=0.85, zorder=2)
    best = search.done.index(search.ranked()[0])
    panel.plot(lines[best], color=style.VERMILLION, linewidth=2.4, zorder=3)
    keys = [*search.varied, as_text(search.monitor)]
    panel.set_xticks(range(len(keys)), [style.wrapped(key, 14) for key in keys])
    panel.set_xlim(-0.1, len(keys) - 1 + 0.35)
    panel.set_ylim(-0.06, 1.06)
    panel.set_yticks([])
    panel.tick_params(length=0)


def _scale(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where values are from 0 to 1, and some of these places with their labels."""
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in column)
    if not numeric:
        names = list(dict.fromkeys(as_text(value) for value in column))
        last = max(len(names) - 1, 1)
        places = [names.index(as_text(value)) / last for value in column]
        return places, [(place / last, style.wrapped(n, 16)) for place, n in enumerate(names)]
    numbers = np.asarray(column, dtype=float)
    is_wide = numbers.min() > 0 and numbers.max() > _WIDE * numbers.min()
    norm = (LogNorm if is_wide else Normalize)(numbers.min(), numbers.max())
    shown = sorted(set(numbers.tolist()))
    if len(shown) > _MOST_TICKS:
        shown = [shown[0], shown[-1]]
    return norm(numbers).tolist(), [(float(norm(value)), f"{value:.4g}") for value in shown]


def front_pictures(
    trials: Sequence[Trial], front: Sequence[Trial], modes: Mapping[str, str]
) -> Iterator[Picture]:
    """Yield the picture of several objectives, if there are some: a panel for each two, and the front."""
    pairs = list(combinations(modes, 2))
    if not pairs:
        return
    figure, axes = style.grid(len(pairs), style.columns_of(len(pairs)), 3.0, 0.5)
    for panel, (first, second) in zip(axes, pairs, strict=True):
        ends = sorted((t.objectives[first], t.objectives[second]) for t in front)
        panel.scatter(
            [trial.objectives[first] for trial in trials],
            [trial.objectives[second] for trial in trials],
            color=style.BLUE,
            s=24,
        )
        panel.plot(*zip(*ends, strict=True), color=style.VERMILLION, marker="s", linewidth=1)
        for axis, name in ((panel.set_xlabel, first), (panel.set_ylabel, second)):
            axis(f"{name}, {'higher' if modes[name] == 'max' else 'lower'} is better")
    looks = {"trial": (style.BLUE, "o"), "Pareto front": (style.VERMILLION, "s")}
    style.legend(figure, looks, 2, "outside upper right")
    yield Picture(
        Section.SEARCH,
        "search-front",
        "Objectives against each other",
        "Each point is a finished trial. The front has the trials that no other trial beats in "
        "one objective without being worse in another.",
        f"{len(trials)} trials by {', '.join(modes)}; {len(front)} are on the Pareto front.",
        figure,
    )
