"""Pictures of slices, gates, gradient flow and embedding tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.analysis.gate_weights import GateWeights
from fuxictr_stem.analysis.gradient_flow import GradientFlow
from fuxictr_stem.analysis.table_similarity import TableComparison
from fuxictr_stem.benchmark.report.figures import style
from fuxictr_stem.benchmark.report.figures.heat_maps import Grid, draw_heat_maps
from fuxictr_stem.benchmark.report.figures.style import Panel, Picture, draw_models
from fuxictr_stem.benchmark.report.formatting import Section, better, file_name, number
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.model_analysis import Analysis, Slices, interval_of
from fuxictr_stem.metrics import METRICS

_MOST_FIELDS = 20
# One scale for all models: what is dark in one picture is dark in the next.
_SHARES = Normalize(0, 1)


def analysis_pictures(analysis: Analysis, leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield the pictures of gates, gradient flow, tables and slices, in the report's order."""
    slice_names = analysis.slices.names if analysis.slices else []
    for model, places in analysis.gates.items():
        yield _gates(model, analysis.run(model), places)
        if slice_names:
            yield _gates(model, analysis.run(model), places, slice_names)
    for model, flow in analysis.flows.items():
        yield _flow(model, analysis.run(model), flow)
    first = {model: fields[0] for model, fields in analysis.tables.items() if fields}
    for model, comparison in first.items():
        if len(comparison.tables) > 1:
            yield _similarity(model, analysis.run(model), analysis.tables[model])
    if first:
        yield _spectra(first, {model: analysis.run(model) for model in first})
    if analysis.slices is not None:
        yield from _slice_pictures(analysis.slices, leaderboard)


def _slice_pictures(slices: Slices, leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield one picture per task and metric: the lift on each slice."""
    names = [name for name in leaderboard.finished.names if name in slices.lifts]
    lifts = {
        (label, lift.metric, name): lift
        for name, by_label in slices.lifts.items()
        for label, of_label in by_label.items()
        for lift in of_label
    }
    for label, metric in dict.fromkeys((label, metric) for label, metric, _ in lifts):
        by_model = {
            name: lifts[label, metric, name] for name in names if (label, metric, name) in lifts
        }
        panels = []
        for place, slice_name in enumerate(slices.names):
            ends = {
                name: (float(lift.lift[place]), float(lift.low[place]), float(lift.high[place]))
                for name, lift in by_model.items()
            }
            points = {name: values for name, values in ends.items() if np.isfinite(values).all()}
            users = max(int(lift.groups[place]) for lift in by_model.values())
            hollow = frozenset(name for name, (_, low, high) in points.items() if low <= 0 <= high)
            title = f"{slice_name} ({users:,} users)"
            panels.append(Panel(title, points, 0.0, hollow, METRICS[metric].higher_is_better))
        x_label = f"{label}, {metric} minus that of {slices.reference}{better(metric)}"
        interval = interval_of(next(iter(by_model.values())))
        yield Picture(
            Section.SLICES,
            file_name("slices", label, metric),
            f"{label}, {metric}: lift over {slices.reference} by slice",
            f"Mean over seeds and {interval}; a hollow marker's interval includes zero. Worse than zero is "
            f"shaded. With this many intervals some exclude zero by chance. {slices.definition}",
            f"Difference in {metric} of {label} between {len(names)} models and {slices.reference} on "
            f"the slices {', '.join(slices.names)}, with intervals.",
            draw_models(panels, names, leaderboard.roles, x_label),
        )


def _share(value: float) -> str:
    # A value that rounds to zero has no sign.
    return number(round(value, 2) + 0.0, 2)


def _gates(
    model: str, run: str, places: list[GateWeights], slice_names: Sequence[str] = ()
) -> Picture:
    """Return the mean gate weights over all samples, or over those of each slice."""
    grids = []
    for place in places:
        values, columns = np.where(place.reads, place.mean, np.nan).T, place.gates
        if slice_names:
            # (E, Q * S): the slices of a gate are next to each other.
            by_slice = np.where(place.reads, place.slice_mean, np.nan).transpose(2, 1, 0)
            values = by_slice.reshape(len(place.experts), -1)
            columns = [f"{gate}: {name}" for gate in place.gates for name in slice_names]
        grids.append(Grid(place.place, place.experts, columns, values))
    samples, blank = "samples; a column sums to 1", ""
    if slice_names:
        samples, blank = "samples of a slice", ", or the slice has no samples"
    by_slice_title, column = (" by slice", "gate and slice") if slice_names else ("", "gate")
    return Picture(
        Section.GATES,
        file_name("gates", model, *(["slices"] if slice_names else [])),
        f"{model}: gate weights{by_slice_title}",
        f"{run}. Mean weight of each expert (row) in each gate (column) over the {samples}. Blank: the "
        f"gate does not read the expert{blank}.",
        f"Heat map of {model}'s mean gate weights{by_slice_title}, one column per {column}, one row per "
        "expert.",
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
    by_field = sorted(comparisons[1:], key=lambda field: -field.ids)[:_MOST_FIELDS]
    rows = [f"{field.field} ({field.ids:,} ids)" for field in by_field]
    columns = [f"{name} and {first.tables[-1]}" for name in first.tables[:-1]]
    for title, attribute in (("mean cosine", "cosine"), ("linear CKA", "cka")):
        if by_field:
            # The shared table is the last.
            values = np.stack([getattr(field, attribute)[-1, :-1] for field in by_field])
            grids.append(Grid(f"{title} by field", rows, columns, values))
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


def _fields(comparison: TableComparison) -> str:
    name = "all fields" if comparison.field == "all" else comparison.field
    return f"{name} ({comparison.ids:,} ids)"


def _spectra(spectra: Mapping[str, TableComparison], runs: Mapping[str, str]) -> Picture:
    tables = dict.fromkeys(name for comparison in spectra.values() for name in comparison.tables)
    styles = {name: style.series(place) for place, name in enumerate(tables)}
    figure, axes = style.grid(len(spectra), 3, 2.3, 0.9, sharex=True, sharey=True)
    for panel, (model, comparison) in zip(axes, spectra.items(), strict=True):
        title = f"{style.wrapped(model, 26)}\n{style.wrapped(runs[model], 30)}"
        panel.set_title(title, loc="left", fontsize=8)
        for name, values in zip(comparison.tables, comparison.spectra, strict=True):
            colour, marker = styles[name]
            # What is zero but for rounding would stretch the scale without end.
            shown, places = np.where(values > 1e-9, values, np.nan), range(1, len(values) + 1)
            panel.plot(places, shown, color=colour, marker=marker, markersize=4, linewidth=1)
        panel.set_yscale("log")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # The axis is shared: its ends are known when all lines are drawn.
    style.plain_log_ticks(axes[0].yaxis, *axes[0].get_ylim())
    figure.supxlabel("number of the singular value", fontsize=10)
    figure.supylabel("share of the sum, logarithmic", fontsize=10)
    style.legend(figure, styles, min(4, len(styles)), "outside upper center", line="-")
    return Picture(
        Section.TABLES,
        "tables-spectra",
        "Singular values of the embedding tables",
        "One run of each model. Each table's singular values, divided by their sum. A steep line: the "
        "table uses few of its dimensions.",
        f"Singular-value spectra of the tables of {len(spectra)} models; the effective ranks are in the "
        "table.",
        figure,
    )
