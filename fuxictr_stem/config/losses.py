"""What enters a task's loss, and with which weight: samples, sample weights, weights of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_stem.config.checking import Place, Problems
from fuxictr_stem.config.model_keys import constructor_parameters, model_keys
from fuxictr_stem.errors import suggest
from fuxictr_stem.training.adam_step import row_sparse_problems
from fuxictr_stem.training.balancing import balancing_problems
from fuxictr_stem.training.loss_weights import EQUAL, in_order, loss_weight_problems
from fuxictr_stem.training.task_loss import sample_space_problems

# What a model must know of; one of another package may not.
_DEFAULTS = {
    "loss_weight": "EQ",
    "gradient_balancing": None,
    "sample_spaces": None,
    "sample_weight": None,
    "row_sparse": False,
    "precision": "fp32",
}


def check_losses(
    params: dict[str, Any], label_col: Sequence[Mapping[str, Any]], place: Place, problems: Problems
) -> None:
    """Check the settings of the losses against tasks and labels; settle ``loss_weight``.

    Args:
        params: The experiment's settings with ``task_labels`` as a list; completed.
        label_col: The dataset's labels, a dict each.
        place: Says where a key stands.
        problems: Takes what is wrong.
    """
    labels = params["task_labels"]
    weights = params.get("loss_weight", EQUAL)
    if not problems.add_all(place, loss_weight_problems(weights, labels)):
        params["loss_weight"] = in_order(weights, labels)
    known = [col["name"] for col in label_col]
    spaces = params.get("sample_spaces")
    problems.add_all(place, sample_space_problems(spaces, labels, known))
    _check_sample_weight(params, label_col, place, problems)
    if {"optimizer", "embedding_regularizer", "row_sparse"} <= params.keys():
        step = params["row_sparse"], params["optimizer"], params["embedding_regularizer"]
        problems.add_all(place, row_sparse_problems(*step))
    problems.add_all(place, balancing_problems(params.get("gradient_balancing")))
    model, _ = model_keys(params.get("model"), place("model"), Problems())
    if model is not None:
        _check_model_takes(model, params, label_col, place, problems)


def _check_model_takes(
    model: type,
    params: Mapping[str, Any],
    label_col: Sequence[Mapping[str, Any]],
    place: Place,
    problems: Problems,
) -> None:
    """Note what the model's constructor does not take, and so would ignore without a word."""
    taken = {parameter.name for _, parameter in constructor_parameters(model)}
    for key, default in _DEFAULTS.items():
        if key not in taken and params.get(key, default) != default:
            problems.add(
                place(key),
                f"is not for the model {params['model']}, whose constructor does not take it.",
                "Leave it out, or choose one of this package's models.",
            )
    missing = [
        c["name"] for c in label_col if "missing" in c and c["name"] in params["task_labels"]
    ]
    if missing and "sample_spaces" not in taken:
        problems.add(
            place("task_labels"),
            f"{', '.join(missing)} may be missing (label_col), but the model {params['model']} would "
            f"train on NaN.",
            "Choose one of this package's models, or other labels.",
        )


def _check_sample_weight(
    params: Mapping[str, Any],
    label_col: Sequence[Mapping[str, Any]],
    place: Place,
    problems: Problems,
) -> None:
    name = params.get("sample_weight")
    if name is None:
        return
    by_name = {col["name"]: col for col in label_col}
    at = place("sample_weight")
    if name not in by_name:
        problems.add(
            at,
            f"{name!r} is not in label_col, which has {', '.join(by_name)}.",
            suggest(name, by_name) or "Add it there with dtype: float; it is not trained.",
        )
    elif name in params["task_labels"]:
        problems.add(at, f"{name!r} is trained as a task, too.", "Take it out of task_labels.")
    elif "missing" in by_name[name]:
        problems.add(
            at,
            f"{name!r} may be missing (label_col), but every sample needs its weight.",
            "Give it a fill_na instead, such as 1.",
        )
