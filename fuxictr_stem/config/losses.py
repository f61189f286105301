"""What enters a task's loss, and with which weight: samples, sample weights, weights of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuxictr_stem.config.checking import Place, Problems
from fuxictr_stem.config.model_keys import constructor_parameters, model_keys
from fuxictr_stem.errors import ConfigError, suggest

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
    if "loss_weight" in params:
        _check_weights(params, place, problems)
    _check_spaces(params, label_col, place, problems)
    _check_sample_weight(params, label_col, place, problems)
    _check_row_sparse(params, place, problems)
    name = params.get("gradient_balancing")
    if name is not None:
        # It imports `config.values`, and with it this package.
        from fuxictr_stem.training.balancing import GradientBalancer

        try:
            GradientBalancer(name)
        except ConfigError as error:
            problems.add(place("gradient_balancing"), str(error))
    model, _ = model_keys(params.get("model"), place("model"), Problems())
    if model is not None:
        _check_model_takes(model, params, label_col, place, problems)


def _check_row_sparse(params: Mapping[str, Any], place: Place, problems: Problems) -> None:
    if not params.get("row_sparse") or not {"optimizer", "embedding_regularizer"} <= params.keys():
        return
    # What has L1 is text; L2 alone is a number.
    l1 = isinstance(params["embedding_regularizer"], str)
    if params["optimizer"].lower() != "adam" or l1:
        problems.add(
            place("row_sparse"),
            "needs optimizer adam and an embedding_regularizer that is L2 or null, found "
            f"{params['optimizer']} and {params['embedding_regularizer']}.",
            "Change these, or set row_sparse: False.",
        )


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


def _check_weights(params: dict[str, Any], place: Place, problems: Problems) -> None:
    """Turn weights by label into a list in the order of the tasks."""
    weights, labels = params["loss_weight"], params["task_labels"]
    if isinstance(weights, str):
        return
    if isinstance(weights, dict):
        wrong = sorted(set(weights) ^ set(labels))
        if wrong:
            problems.add(
                place("loss_weight"),
                f"must have one number for each label that is trained ({', '.join(labels)}), but "
                f"differs in {', '.join(wrong)}.",
                "".join(suggest(name, labels) for name in wrong if name not in labels),
            )
            return
        weights = [weights[label] for label in labels]
    elif len(weights) != len(labels):
        problems.add(
            place("loss_weight"),
            f"has {len(weights)} entries, but {len(labels)} labels are trained "
            f"({', '.join(labels)}).",
            "Give one number a label.",
        )
        return
    if not any(weights):
        problems.add(place("loss_weight"), "is 0 for every task: nothing would be learnt.")
    params["loss_weight"] = weights


def _check_spaces(
    params: Mapping[str, Any],
    label_col: Sequence[Mapping[str, Any]],
    place: Place,
    problems: Problems,
) -> None:
    known = [col["name"] for col in label_col]
    for label, space in (params.get("sample_spaces") or {}).items():
        at = f"{place('sample_spaces')}.{label}"
        if label not in params["task_labels"]:
            problems.add(
                at,
                f"{label!r} is not trained; the labels that are: "
                f"{', '.join(params['task_labels'])}.",
                suggest(label, params["task_labels"]),
            )
        if space not in known:
            problems.add(
                at,
                f"{space!r} is not a label of the dataset, which has {', '.join(known)}.",
                suggest(space, known) or "Add it to label_col; it need not be trained.",
            )
        elif space == label:
            problems.add(
                at,
                f"{label!r} cannot be its own sample space: only positives would be left.",
                "Name the label of the step before.",
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
