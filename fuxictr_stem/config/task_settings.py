"""Tasks of an experiment: labels, task types and losses; and the metric that decides when to stop."""

from __future__ import annotations

import logging
from typing import Any

from fuxictr_stem.config.checking import Place, Problems
from fuxictr_stem.errors import suggest
from fuxictr_stem.metrics import METRICS, metric_names, produced_metrics
from fuxictr_stem.training.task_loss import loss_problems, losses_of, per_task, task_problems

logger = logging.getLogger(__name__)

# The monitor of an experiment that names none is the first of these that it produces.
_MONITORS = (
    "AUC",
    "gAUC",
    "avgAUC",
    "gAUC_positives",
    "prAUC",
    "logloss",
    "binary_crossentropy",
    "NE",
    "calibration_error",
    "MSE",
    "MAE",
    "R2",
)


def choose_tasks(
    params: dict[str, Any], labels: list[str], place: Place, problems: Problems
) -> dict[str, str]:
    """Settle ``task_labels``, ``task``, ``loss`` and ``num_tasks`` into lists of one length.

    Args:
        params: The experiment's settings; completed.
        labels: The dataset's labels.
        place: Says where a key stands.
        problems: Takes what is wrong.

    Returns:
        Task type by label; empty if it cannot be told.
    """
    chosen = params["task_labels"] or list(dict.fromkeys(labels))
    task, loss = params["task"], params["loss"]
    if problems.add_all(place, task_problems(chosen, labels, task, loss, params["num_tasks"])):
        return {}
    types = per_task(task, chosen)
    losses = losses_of(loss, types)
    problems.add_all(place, loss_problems(chosen, types, losses))
    params |= {"task_labels": list(chosen), "task": types, "loss": losses}
    params["num_tasks"] = len(chosen)
    return dict(zip(chosen, types, strict=True))


def choose_monitor(
    params: dict[str, Any], tasks: dict[str, str], grouped: bool, place: Place, problems: Problems
) -> None:
    """Check ``metrics`` and ``monitor`` against the tasks; settle the monitor and its mode.

    Args:
        params: The experiment's settings; completed.
        tasks: Task type by label.
        grouped: Whether there is a ``group_id``.
        place: Says where a key stands.
        problems: Takes what is wrong.
    """
    names = {name for task in tasks.values() for name in metric_names(task, params["metrics"])}
    need_groups = [n for n in params["metrics"] if n in names and METRICS[n].group_weight]
    if need_groups and not grouped:
        problems.add(
            place("metrics"),
            f"{', '.join(need_groups)} need group_id, but it is null.",
            "Set group_id of the dataset to the column of the groups, such as the user id.",
        )
    produced = produced_metrics(tasks, params["metrics"])
    directed = [name for name in produced if _higher_is_better(name, tasks) is not None]
    if params["monitor"] is None:
        params["monitor"] = next((name for name in _MONITORS if name in directed), None)
    if params["monitor"] is None:
        problems.add(
            place("metrics"),
            f"{', '.join(params['metrics'])} cannot decide early stopping: neither more nor less of "
            f"it is better.",
            "Add calibration_error, NE or AUC.",
        )
        return
    monitored = params["monitor"]
    weights = monitored if isinstance(monitored, dict) else {monitored: 1.0}
    unknown = [name for name in weights if name not in produced]
    for name in unknown:
        add = f" Add {name} to metrics." if name in METRICS else ""
        problems.add(
            place("monitor"),
            f"{name!r} is not produced by these tasks and metrics, which give: "
            f"{', '.join(produced)}.",
            suggest(name, produced) + add,
        )
    undirected = [name for name in weights if name in produced and name not in directed]
    for name in undirected:
        problems.add(
            place("monitor"),
            f"{name} cannot decide early stopping: 1 is best, neither more nor less.",
            "Monitor calibration_error, its distance from 1.",
        )
    if unknown or undirected:
        return
    gains = {name: _higher_is_better(name, tasks) == (w > 0) for name, w in weights.items()}
    if params["monitor_mode"] is None:
        params["monitor_mode"] = "max" if any(gains.values()) else "min"
    wrong = [name for name, gain in gains.items() if gain != (params["monitor_mode"] == "max")]
    if wrong:
        logger.warning(
            "%s: %s keeps the epoch with the worst %s. Is that meant?",
            place("monitor_mode"),
            params["monitor_mode"],
            ", ".join(wrong),
        )


def _higher_is_better(produced: str, tasks: dict[str, str]) -> bool | None:
    if produced in METRICS:
        return METRICS[produced].higher_is_better
    own = (produced.removeprefix(f"{label}_") for label in tasks)
    return METRICS[next(name for name in own if name in METRICS)].higher_is_better
