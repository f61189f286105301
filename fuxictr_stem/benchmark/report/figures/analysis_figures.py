"""Pictures of slices, gates, gradient flow and embedding tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.analysis.gates import GateWeights
from fuxictr_stem.analysis.gradient_flow import GradientFlow
from fuxictr_stem.analysis.table_similarity import TableComparison
from fuxictr_stem.benchmark.report.figures.heat_maps import Grid, draw_heat_maps
from fuxictr_stem.benchmark.report.figures.panels import Panel, draw_models
from fuxictr_stem.benchmark.report.figures.style import (
    COLOURS,
    MARKERS,
    Picture,
    file_name,
    grid,
    plain_log_ticks,
    wrapped,
)
from fuxictr_stem.benchmark.report.formatting import Section, better, number
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard, higher_is_better
from fuxictr_stem.benchmark.score.model_analysis import Analysis
from fuxictr_stem.benchmark.score.slice_scores import Slices, interval_of

_MOST_FIELDS = 20
# One scale for all models: what is dark in one picture is dark in the next.
_SHARES = Normalize(0, 1)


def analysis_pictures(analysis: Analysis, leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield the pictures of gates, gradient flow, tables and slices, in the report's order."""
    yield from _inside_pictures(analysis)
    if analysis.slices is not None:
        yield from _slice_pictures(analysis.slices, leaderboard)


def _slice_pictures(slices: Slices, leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield a picture a task and metric: the lift on each slice."""
    lifts = {
        (label, lift.metric): None
        for by_label in slices.lifts.values()
        for label, own in by_label.items()
        for lift in own
    }
    names = [name for name in leaderboard.scores if name in slices.lifts]
    for label, metric in lifts:
        found = {
            name: lift
            for name in names
            for lift in slices.lifts[name].get(label, [])
            if lift.metric == metric
        }
        panels = []
        for place, slice_name in enumerate(slices.names):
            points = {
                name: (float(lift.lift[place]), float(lift.low[place]), float(lift.high[place]))
                for name, lift in found.items()
                if np.isfinite([lift.lift[place], lift.low[place], lift.high[place]]).all()
            }
            users = max(int(lift.groups[place]) for lift in found.values())
            hollow = frozenset(name for name, (_, low, high) in points.items() if low <= 0 <= high)
            title = f"{slice_name} ({users:,} users)"
            panels.append(Panel(title, points, 0.0, hollow, higher_is_better(metric)))
        first = next(iter(found.values()))
        x_label = f"{label}, {metric} minus that of {slices.reference}{better(metric)}"
        yield Picture(
            Section.SLICES,
            file_name("slices", label, metric),
            f"{label}, {metric}: lift over {slices.reference} by slice",
            f"Mean over seeds and {interval_of(first)}; a hollow marker's interval holds zero. Worse than "
            f"zero is shaded. With this many intervals some exclude zero by chance. {slices.definition}",
            f"Difference in {metric} of {label} between {len(names)} models and {slices.reference} on "
            f"the slices {', '.join(slices.names)}, with intervals.",
            draw_models(panels, names, leaderboard.roles, x_label),
        )


def _inside_pictures(analysis: Analysis) -> Iterator[Picture]:
    """Yield the pictures of gates, gradient flow and tables, model by model."""
    names = analysis.slices.names if analysis.slices else []
    for model, places in analysis.gates.items():
        run = analysis.run(model)
        if places:
            yield _gates(model, run, places)
            if names and all(len(place.slice_mean) == len(names) for place in places):
                yield _gates_by_slice(model, run, places, names)
    for model, flow in analysis.flows.items():
        yield _flow(model, analysis.run(model), flow)
    several = {m: own for m, own in analysis.tables.items() if own and len(own[0].tables) > 1}
    for model, comparisons in several.items():
        yield _similarity(model, analysis.run(model), comparisons)
    spectra = {model: own[0] for model, own in analysis.tables.items() if own}
    if spectra:
        yield _spectra(spectra, {model: analysis.run(model) for model in spectra})


def _share(value: float) -> str:
    # A value that rounds to zero has no sign.
    return number(round(value, 2) + 0.0, 2)


def _gates(model: str, run: str, places: list[GateWeights]) -> Picture:
    grids = [
        Grid(own.place, own.experts, own.gates, np.where(own.reads, own.mean, np.nan).T)
        for own in places
    ]
    return Picture(
        Section.GATES,
        file_name("gates", model),
        f"{model}: gate weights",
        f"{run}. Mean weight of each expert (row) in each gate (column) over the samples; a column sums "
        "to 1. Blank: the gate does not read the expert.",
        f"Heat map of {model}'s mean gate weights, a column a gate, a row an expert.",
        draw_heat_maps(grids, "mean gate weight (share)", _SHARES, _share, title=f"{model}: {run}"),
    )


def _gates_by_slice(model: str, run: str, places: list[GateWeights], names: list[str]) -> Picture:
    grids = []
    for own in places:
        # (E, Q * S): the slices of a gate stand beside each other.
        values = np.where(own.reads, own.slice_mean, np.nan).transpose(2, 1, 0)
        columns = [f"{gate}: {name}" for gate in own.gates for name in names]
        grids.append(Grid(own.place, own.experts, columns, values.reshape(len(own.experts), -1)))
    return Picture(
        Section.GATES,
        file_name("gates", model, "slices"),
        f"{model}: gate weights by slice",
        f"{run}. Mean weight of each expert (row) in each gate (column) over the samples of a slice. "
        "Blank: the gate does not read the expert, or the slice has no samples.",
        f"Heat map of {model}'s mean gate weights by slice, a column a gate and slice, a row an expert.",
        draw_heat_maps(grids, "mean gate weight (share)", _SHARES, _share, title=f"{model}: {run}"),
    )


def _flow(model: str, run: str, flow: GradientFlow) -> Picture:
    reached = flow.norms[flow.norms > 0]
    low, high = (reached.min(), reached.max()) if len(reached) else (0.1, 1.0)
    # A scale needs two ends.
    norm = LogNorm(float(low) if low < high else float(high) / 10, float(high))
    zeros = int(np.count_nonzero(flow.norms == 0))
    return Picture(
        Section.FLOW,
        file_name("gradient-flow", model),
        f"{model}: gradient flow",
        f"{run}. Norm of the gradient of one task's mean loss (column) in each part of the model (row). "
        "Hatched 0: exactly zero, the task does not reach the part.",
        f"Heat map of {model}'s gradient norms, {len(flow.parts)} parts by {len(flow.labels)} tasks; "
        f"{zeros} of {flow.norms.size} are exactly zero.",
        draw_heat_maps(
            [Grid("", flow.parts, flow.labels, flow.norms.T)],
            "gradient norm, logarithmic",
            norm,
            lambda value: f"{value:.1e}" if value else "0",
            title=f"{model}: {run}",
        ),
    )


def _similarity(model: str, run: str, comparisons: list[TableComparison]) -> Picture:
    first = comparisons[0]
    grids = [
        Grid(f"mean cosine, {_fields(first)}", first.tables, first.tables, first.cosine),
        Grid(f"linear CKA, {_fields(first)}", first.tables, first.tables, first.cka),
    ]
    by_field = sorted(comparisons[1:], key=lambda own: -own.ids)[:_MOST_FIELDS]
    if by_field:
        rows = [f"{own.field} ({own.ids:,} ids)" for own in by_field]
        # The shared table is the last.
        cosine, cka = (
            np.stack([getattr(own, what)[-1, :-1] for own in by_field])
            for what in ("cosine", "cka")
        )
        columns = [f"{name} and {first.tables[-1]}" for name in first.tables[:-1]]
        grids.append(Grid("mean cosine by field", rows, columns, cosine))
        grids.append(Grid("linear CKA by field", rows, columns, cka))
    fields = "" if len(comparisons) <= _MOST_FIELDS + 1 else f" The {_MOST_FIELDS} largest fields."
    return Picture(
        Section.TABLES,
        file_name("tables", model),
        f"{model}: similarity of the embedding tables",
        f"{run}. Cosine: are an id's vectors in two tables the same (1), unrelated (0) or opposite (-1). "
        f"CKA: are the tables the same but for rotation and scale (1), or unrelated (0).{fields}",
        f"Heat maps of cosine and CKA between {model}'s tables {', '.join(first.tables)}.",
        draw_heat_maps(
            grids,
            "similarity: cosine from -1 to 1, CKA from 0 to 1",
            Normalize(-1, 1),
            _share,
            colours="PuOr",
            title=f"{model}: {run}",
        ),
    )


def _fields(own: TableComparison) -> str:
    return f"{'all fields' if own.field == 'all' else own.field} ({own.ids:,} ids)"


def _spectra(spectra: Mapping[str, TableComparison], runs: Mapping[str, str]) -> Picture:
    names = list(dict.fromkeys(name for own in spectra.values() for name in own.tables))
    figure, axes = grid(len(spectra), 3, 2.3, 0.9, sharex=True, sharey=True)
    style = {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)
    }
    for own, (model, comparison) in zip(axes, spectra.items(), strict=True):
        own.set_title(f"{wrapped(model, 26)}\n{wrapped(runs[model], 30)}", loc="left", fontsize=8)
        for name, values in zip(comparison.tables, comparison.spectra, strict=True):
            colour, marker = style[name]
            # What is zero but for rounding would stretch the scale without end.
            shown = np.where(values > 1e-9, values, np.nan)
            own.plot(
                range(1, len(values) + 1),
                shown,
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1,
            )
        own.set_yscale("log")
        own.grid(visible=True)
        own.set_axisbelow(True)
        own.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # The axis is shared: its ends are known when all lines are drawn.
    plain_log_ticks(axes[0].yaxis, *axes[0].get_ylim())
    figure.supxlabel("number of the singular value", fontsize=10)
    figure.supylabel("share of the sum, logarithmic", fontsize=10)
    handles = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for name, (colour, marker) in style.items()
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(4, len(names)), frameon=False
    )
    return Picture(
        Section.TABLES,
        "tables-spectra",
        "Singular values of the embedding tables",
        "One run of each model. Each table's singular values, divided by their sum. A steep line: the "
        "table uses few of its dimensions.",
        f"Singular-value spectra of the tables of {len(spectra)} models; the effective ranks are in the "
        f"table.",
        figure,
    )
