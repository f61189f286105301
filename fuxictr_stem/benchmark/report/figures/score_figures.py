"""Pictures of the leaderboard: quality, transfer, cost and training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fuxictr_stem.benchmark.report.figures import style
from fuxictr_stem.benchmark.report.figures.style import Panel, Picture, draw_models
from fuxictr_stem.benchmark.report.formatting import Section, better, file_name
from fuxictr_stem.benchmark.score.finished_runs import FinishedBenchmark, Run
from fuxictr_stem.benchmark.score.leaderboard import Leaderboard
from fuxictr_stem.benchmark.score.significance import LEVEL
from fuxictr_stem.metrics import METRICS


def leaderboard_pictures(leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield the pictures of a leaderboard, in the report's order."""
    metrics = leaderboard.finished.metrics
    for metric in metrics:
        yield _quality(leaderboard, metric)
    for metric in metrics:
        yield from _transfer(leaderboard, metric)
    yield _cost(leaderboard, metrics[0])
    yield from _curves(leaderboard)


def _quality(leaderboard: Leaderboard, metric: str) -> Picture:
    finished, higher = leaderboard.finished, METRICS[metric].higher_is_better
    panels = []
    for label in finished.labels:
        points = {}
        for name, score in leaderboard.scores_of(label, metric).items():
            sd = score.sd or 0.0
            points[name] = (score.mean, score.mean - sd, score.mean + sd)
        single = points.get(finished.single_task) if finished.single_task else None
        panels.append(Panel(label, points, single[0] if single else None, higher_is_better=higher))
    many = any(len(score.values) > 1 for score in leaderboard.scores.values())
    spread = "mean ± standard deviation over seeds" if many else "one seed, spread unknown"
    line = f" The dashed line is the mean of {finished.single_task}{_shaded(metric)}."
    return Picture(
        Section.QUALITY,
        file_name("quality", metric),
        f"{metric} on test",
        f"{spread[0].upper()}{spread[1:]}{better(metric)}; {_seeds(finished)}."
        f"{line if finished.single_task else ''}",
        f"{metric} of {len(finished.names)} models on {', '.join(finished.labels)}, {spread}; the numbers "
        f"are in the table of {metric}.",
        draw_models(panels, finished.names, leaderboard.roles, f"{metric} on test{better(metric)}"),
    )


def _transfer(leaderboard: Leaderboard, metric: str) -> Iterator[Picture]:
    finished, higher = leaderboard.finished, METRICS[metric].higher_is_better
    panels = []
    for label in finished.labels:
        points, hollow = {}, set()
        for name, score in leaderboard.scores_of(label, metric).items():
            comparison = score.single_task
            if comparison is not None:
                mean, both = comparison.difference, comparison.seeds_and_users
                points[name] = (mean, both.low, both.high) if both else (mean, mean, mean)
                if not comparison.is_significant:
                    hollow.add(name)
        panels.append(Panel(label, points, 0.0, frozenset(hollow), higher))
    if not any(panel.points for panel in panels):
        return
    ranged = any(low < high for panel in panels for _, low, high in panel.points.values())
    interval = f" and {LEVEL:.0%} interval over seeds and test users together" if ranged else ""
    filled = f"Differences in {metric} are not tested, so all markers are hollow."
    if tested := leaderboard.tested(metric):
        filled = f"A filled marker is a significant difference on {', '.join(tested)} (Holm)."
    names = [name for name in finished.names if name != finished.single_task]
    x_label = f"{metric} minus that of {finished.single_task}{better(metric)}"
    yield Picture(
        Section.TRANSFER,
        file_name("transfer", metric),
        f"{metric}: difference to {finished.single_task}",
        f"Mean over seeds{interval}; {_seeds(finished)}. {filled} Worse than zero is negative "
        f"transfer{_shaded(metric)}.",
        f"Difference in {metric} between each of {len(names)} models and {finished.single_task} on "
        f"{', '.join(finished.labels)}, with intervals; the numbers are in the transfer table.",
        draw_models(panels, names, leaderboard.roles, x_label),
    )


def _seeds(finished: FinishedBenchmark) -> str:
    """Return which seeds a picture of all runs shows."""
    seeds = sorted({seed for by_seed in finished.models.values() for seed in by_seed})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _shaded(metric: str) -> str:
    return "" if METRICS[metric].higher_is_better is None else ", the shaded side"


def _cost(leaderboard: Leaderboard, metric: str) -> Picture:
    finished, costs = leaderboard.finished, leaderboard.costs
    scores = {label: leaderboard.scores_of(label, metric) for label in finished.labels}
    labels = [label for label in finished.labels if scores[label]] or finished.labels
    columns = style.columns_of(len(labels))
    figure, axes = style.grid(len(labels), columns, 3.0, 0.5 + 0.22 * -(-len(finished.names) // 2))
    most = max(cost.peak_mib for cost in costs.values())
    seconds = [cost.seconds_per_epoch for cost in costs.values()]
    styles = {name: style.series(number) for number, name in enumerate(finished.names)}
    for place, (panel, label) in enumerate(zip(axes, labels, strict=True)):
        for name, score in scores[label].items():
            colour, marker = styles[name]
            panel.errorbar(
                costs[name].seconds_per_epoch,
                score.mean,
                yerr=score.sd,
                color=colour,
                marker=marker,
                markersize=4 + 6 * costs[name].peak_mib / most,
                alpha=0.85,
                capsize=2,
                linewidth=1,
            )
        panel.set_title(label, loc="left")
        panel.margins(0.1)
        if min(seconds) > 0 and max(seconds) > 20 * min(seconds):
            panel.set_xscale("log")
        else:
            panel.set_xlim(left=0)
        if place % columns == 0:
            panel.set_ylabel(f"{metric} on test")
        if place + columns >= len(axes):
            panel.set_xlabel("training seconds per epoch")
    labelled = {
        f"{style.wrapped(name, 30)}, {costs[name].peak_mib:,.0f} MiB": look
        for name, look in styles.items()
    }
    style.legend(figure, labelled, 2, "outside lower center")
    corner = "Up" if METRICS[metric].higher_is_better else "Down"
    return Picture(
        Section.COST,
        file_name("cost", metric),
        f"{metric} against training time",
        f"Bars are the standard deviation over seeds ({_seeds(finished)}). The larger the marker, the "
        f"larger the peak memory, which the legend gives. {corner} and to the left is better.",
        f"{metric} on test against training seconds per epoch of {len(finished.names)} models; the "
        f"numbers are in the tables of {metric} and cost.",
        figure,
    )


def _curves(leaderboard: Leaderboard) -> Iterator[Picture]:
    """Yield the validation metric of each task and the training loss, one panel per model."""
    finished = leaderboard.finished
    metric = finished.metrics[0]
    for label in finished.labels:
        lines = _lines(finished, f"{label}_{metric}")
        if any(lines.values()):
            yield Picture(
                Section.TRAINING,
                file_name("training", label, metric),
                f"{label}, {metric} on valid while training",
                f"One line per seed ({_seeds(finished)}); in grey the means of the other models.",
                f"{metric} of {label} on valid by epoch, one panel for each of {len(lines)} models.",
                _draw_curves(lines, leaderboard, f"{label}, {metric} on valid", others=True),
            )
    lines = _lines(finished)
    yield Picture(
        Section.TRAINING,
        "training-loss",
        "Training loss",
        f"One line per run ({_seeds(finished)}): the mean loss since the evaluation before, regularisers "
        "included. Losses of models with different tasks or loss weights cannot be compared.",
        f"Training loss by epoch, one panel for each of {len(lines)} models.",
        _draw_curves(lines, leaderboard, "training loss"),
    )


def _lines(finished: FinishedBenchmark, metric: str | None = None) -> dict[str, list[np.ndarray]]:
    """Return (2, E) epochs and a metric on valid, or the training loss, of each run, by model."""
    return {
        name: [
            line
            for trained in finished.models[name].values()
            for run in trained.runs
            if (line := _line(run, metric)).size
        ]
        for name in finished.names
    }


def _line(run: Run, metric: str | None) -> np.ndarray:
    records = run.result["evaluations"]
    per_epoch, so_far = Counter(record["epoch"] for record in records), Counter[int]()
    points = []
    for record in records:
        epoch = record["epoch"]
        so_far[epoch] += 1
        value = record["valid"].get(metric) if metric else record["train_loss"]
        if value is not None:
            # Evaluations inside an epoch are between the whole numbers.
            points.append((epoch - 1 + so_far[epoch] / per_epoch[epoch], value))
    return np.array(points).T


def _draw_curves(
    lines: dict[str, list[np.ndarray]], leaderboard: Leaderboard, y_label: str, others: bool = False
) -> Figure:
    """Draw one panel per model, with the means of the other models if wanted."""
    columns = 4 if len(lines) > 6 else 3
    figure, axes = style.grid(len(lines), columns, 1.75, 0.5, sharex=True, sharey=True)
    means = {name: _mean_line(of_model) for name, of_model in lines.items()}
    for panel, name in zip(axes, lines, strict=True):
        panel.set_title(style.wrapped(name, 20), fontsize=9, loc="left")
        for other, mean in means.items():
            if others and other != name and mean.size:
                panel.plot(*mean, color=style.LIGHT_GREY, linewidth=0.8, zorder=1)
        colour, _ = style.OF_ROLE[leaderboard.roles[name]]
        for line in lines[name]:
            panel.plot(*line, color=colour, linewidth=1, marker="o", markersize=2.5, zorder=2)
        if not lines[name]:
            panel.text(
                0.5, 0.5, "no result", transform=panel.transAxes, ha="center", color=style.GREY
            )
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel(y_label, fontsize=10)
    return figure


def _mean_line(lines: list[np.ndarray]) -> np.ndarray:
    """Return the mean over the lines as far as all of them reach."""
    if not lines:
        return np.array([])
    length = min(line.shape[1] for line in lines)
    return np.array(np.mean([line[:, :length] for line in lines], axis=0))
