"""Tasks of an experiment: their labels, types and losses, and the metric that decides when to stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fuxictr_stem.config.column_words import labels_of_files
from fuxictr_stem.config.model_parameters import constructor_parameters
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.schema import Experiment
from fuxictr_stem.errors import Problem, suggest
from fuxictr_stem.metrics import METRICS, metric_names, produced_metrics
from fuxictr_stem.training import task_loss
from fuxictr_stem.training.adam_step import row_sparse_problems
from fuxictr_stem.training.balancing import balancing_problems
from fuxictr_stem.training.loss_weights import in_order, loss_weight_problems

logger = logging.getLogger(__name__)

# The monitor of an experiment that names none is the first of these that it produces.
_MONITORS = (
    *("AUC", "gAUC", "avgAUC", "gAUC_positives", "prAUC"),
    *("logloss", "binary_crossentropy", "NE", "calibration_error"),
    *("MSE", "MAE", "R2"),
)
# What a model must know of; one of another package may not.
_NOT_IGNORED = (
    *("loss_weight", "gradient_balancing", "sample_spaces", "sample_weight"),
    *("row_sparse", "precision"),
)

Labels = Sequence[Mapping[str, Any]]


def task_types(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the task type of each label that a checked experiment trains."""
    return dict(zip(params["task_labels"], params["task"], strict=True))


def settle_tasks(params: dict[str, Any], label_col: Labels, problems: Problems) -> dict[str, str]:
    """Settle ``task_labels``, ``task``, ``loss`` and ``num_tasks``; return task type by label.

    It is empty if these do not fit each other.
    """
    dataset_labels = list(dict.fromkeys(col["name"] for col in label_col))
    if params["task_labels"] is None:
        in_files = dict.fromkeys(col["name"] for col in labels_of_files(label_col))
        in_files.pop(params.get("sample_weight"), None)
        params["task_labels"] = list(in_files)
    labels = params["task_labels"] or dataset_labels
    task, loss = params["task"], params["loss"]
    if problems.add_all(
        task_loss.task_problems(labels, dataset_labels, task, loss, params["num_tasks"])
    ):
        return {}
    types = task_loss.per_task(task, labels)
    losses = task_loss.losses_of(loss, types)
    problems.add_all(task_loss.loss_problems(labels, types, losses))
    params |= {"task_labels": list(labels), "task": types, "loss": losses}
    params["num_tasks"] = len(labels)
    return dict(zip(labels, types, strict=True))


def settle_losses(
    params: dict[str, Any], label_col: Labels, model: type | None, problems: Problems
) -> None:
    """Check what enters the losses against tasks and labels; put ``loss_weight`` in their order."""
    labels = params["task_labels"]
    if "loss_weight" in params:
        weights = params["loss_weight"]
        if not problems.add_all(loss_weight_problems(weights, labels)):
            params["loss_weight"] = in_order(weights, labels)
    dataset_labels = [col["name"] for col in label_col]
    rules = [
        task_loss.sample_space_problems(params.get("sample_spaces"), labels, dataset_labels),
        _sample_weight_problems(params.get("sample_weight"), labels, label_col),
        balancing_problems(params.get("gradient_balancing")),
    ]
    if {"optimizer", "embedding_regularizer", "row_sparse"} <= params.keys():
        step = params["row_sparse"], params["optimizer"], params["embedding_regularizer"]
        rules.append(row_sparse_problems(*step))
    if model is not None:
        rules.append(_ignored_problems(model, params, label_col))
    for rule in rules:
        problems.add_all(rule)


def _ignored_problems(
    model: type, params: Mapping[str, Any], label_col: Labels
) -> Iterator[Problem]:
    """Yield what the model's constructor does not take, and so would ignore without a word."""
    taken = {parameter.name for _, parameter in constructor_parameters(model)}
    for key in _NOT_IGNORED:
        default = Experiment.model_fields[key].default
        if key not in taken and params.get(key, default) != default:
            text = f"is not for the model {params['model']}, whose constructor does not take it."
            yield Problem(key, text, "Leave it out, or choose one of this package's models.")
    missing = [
        c["name"] for c in label_col if "missing" in c and c["name"] in params["task_labels"]
    ]
    if missing and "sample_spaces" not in taken:
        names = ", ".join(missing)
        text = f"{names} may be missing (label_col), but the model {params['model']} would train on NaN."
        yield Problem("task_labels", text, "Choose one of this package's models, or other labels.")


def _sample_weight_problems(
    name: str | None, labels: Sequence[str], label_col: Labels
) -> Iterator[Problem]:
    by_name = {col["name"]: col for col in label_col}
    key = "sample_weight"
    if name is None:
        return
    if name not in by_name:
        near = suggest(name, by_name) or "Add it there with dtype: float; it is not trained."
        yield Problem(key, f"{name!r} is not in label_col, which has {', '.join(by_name)}.", near)
    elif name in labels:
        yield Problem(key, f"{name!r} is trained as a task, too.", "Take it out of task_labels.")
    elif "missing" in by_name[name]:
        text = f"{name!r} may be missing (label_col), but every sample needs its weight."
        yield Problem(key, text, "Give it a fill_na instead, such as 1.")


def settle_monitor(
    params: dict[str, Any], tasks: dict[str, str], grouped: bool, problems: Problems
) -> None:
    """Check ``metrics`` and ``monitor`` against the tasks; settle the monitor and its mode."""
    metrics = params["metrics"]
    names = {name for task in tasks.values() for name in metric_names(task, metrics)}
    need_groups = [n for n in metrics if n in names and METRICS[n].group_weight]
    if need_groups and not grouped:
        hint = "Set group_id of the dataset to the column of the groups, such as the user id."
        problems.add("metrics", f"{', '.join(need_groups)} need group_id, but it is null.", hint)
    produced = produced_metrics(tasks, metrics)
    directions = {name: higher_is_better(name, tasks) for name in produced}
    directed = [name for name in produced if directions[name] is not None]
    if params["monitor"] is None:
        params["monitor"] = next((name for name in _MONITORS if name in directed), None)
    monitor = params["monitor"]
    if monitor is None:
        rule = "cannot decide early stopping: neither more nor less of it is better."
        problems.add("metrics", f"{', '.join(metrics)} {rule}", "Add calibration_error, NE or AUC.")
        return
    weights = monitor if isinstance(monitor, dict) else {monitor: 1.0}
    if problems.add_all(_monitor_problems(weights, produced, directed)):
        return
    gains = {name: directions[name] == (weight > 0) for name, weight in weights.items()}
    if params["monitor_mode"] is None:
        params["monitor_mode"] = "max" if any(gains.values()) else "min"
    mode = params["monitor_mode"]
    losing = [name for name, gain in gains.items() if gain != (mode == "max")]
    if losing:
        other = f"it should be {'min' if mode == 'max' else 'max'}"
        logger.warning(
            "%s: %s keeps the epoch with the worst %s. Probably %s.",
            *(problems.place("monitor_mode"), mode, ", ".join(losing)),
            "a weight's sign is wrong" if isinstance(monitor, dict) else other,
        )


def _monitor_problems(
    weights: Mapping[str, float], produced: Sequence[str], directed: Sequence[str]
) -> Iterator[Problem]:
    for name in weights:
        if name not in produced:
            there = ", ".join(produced)
            text = f"{name!r} is not produced by these tasks and metrics, which give: {there}."
            add = f" Add {name} to metrics." if name in METRICS else ""
            yield Problem("monitor", text, suggest(name, produced) + add)
        elif name not in directed:
            text = f"{name} cannot decide early stopping: 1 is best, neither more nor less."
            hint = "Monitor calibration_error, its distance from 1."
            yield Problem("monitor", text, hint)


def higher_is_better(produced: str, tasks: Mapping[str, str]) -> bool | None:
    """Say whether more of a result, such as ``AUC`` or ``like_AUC``, is better; None if neither is."""
    names = [produced, *(produced.removeprefix(f"{label}_") for label in tasks)]
    return METRICS[next(name for name in names if name in METRICS)].higher_is_better
