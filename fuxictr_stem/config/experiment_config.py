"""An experiment: Base, its own settings and its dataset, merged as FuxiCTR does, and checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.config.checking import Place, Problems, read_keys
from fuxictr_stem.config.dataset_config import add_groups, find_dataset, read_dataset
from fuxictr_stem.config.feature_changes import check_use_features, read_feature_specs
from fuxictr_stem.config.losses import check_losses
from fuxictr_stem.config.model_keys import check_layers, check_model, model_keys
from fuxictr_stem.config.nesting import labels_of_files
from fuxictr_stem.config.schema import DATASET, EXPERIMENT
from fuxictr_stem.config.task_settings import choose_monitor, choose_tasks
from fuxictr_stem.config.yaml_files import all_sections, check_id, find_base, find_section, ids
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.training.predictions_file import GROUP

logger = logging.getLogger(__name__)

"""Name of the groups in saved predictions, as the metrics number them."""

GROUP_KEY = "group_key"
"""Name of the groups' raw values in saved predictions."""

_ELSEWHERE = dict.fromkeys(DATASET, "It belongs to the dataset, in dataset_config.")


def list_experiments(config_dir: str | Path) -> list[str]:
    """Return the ids of all experiments, sorted.

    Raises:
        ConfigError: If a file is absent or cannot be read.
    """
    return ids(all_sections(config_dir, "model_config"))


def load_experiment(
    config_dir: str | Path,
    expid: str,
    dataset_id: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read, check and normalise an experiment with its dataset.

    Args:
        config_dir: Folder that holds ``model_config`` and ``dataset_config``.
        expid: The experiment.
        dataset_id: A dataset to run it on instead of its own, such as a stand-in.
        overrides: Settings that replace the experiment's own.

    Returns:
        FuxiCTR's ``params``: all settings of experiment and dataset with ``model_id`` and
        ``dataset_id``. ``task_labels``, ``task`` and ``loss`` are lists of ``num_tasks`` entries,
        ``metrics`` is a list, penalties are a float (L2), text or None, ``feature_cols`` and
        ``label_col`` are lists of a dict a column, ``group_id`` is a meta column or None.

    Raises:
        ConfigError: If a file or the experiment is absent, or with all problems of the experiment
            at once.
    """
    check_id("expid", expid)
    sections = all_sections(config_dir, "model_config")
    own = find_section(sections, "expid", expid, config_dir)
    base = find_base(sections, own)
    inherited = base.settings if base else {}
    replaced = dict(overrides or {})

    def place(key: object) -> str:
        if key in replaced:
            return f"{expid}, override of {key}"
        from_base = base is not None and key in inherited and key not in own.settings
        return (base if base is not None and from_base else own).place(key)

    problems = Problems()
    settings = {**inherited, **own.settings, **replaced}
    if dataset_id is not None:
        settings["dataset_id"] = dataset_id
    params = _read_settings(settings, place, problems)
    dataset = _read_dataset_of(params, config_dir, place, problems)
    _check_together(params, dataset, place, problems)
    problems.raise_any(f"Experiment {expid!r}")
    return {**params, **dataset, "model_id": expid}


def accepted_keys(
    config_dir: str | Path, expid: str, overrides: Mapping[str, Any] | None = None
) -> set[str]:
    """Return the keys that an experiment may hold, those of its model included.

    Raises:
        ConfigError: As `load_experiment`, which has the same arguments.
    """
    params = load_experiment(config_dir, expid, overrides=overrides)
    return {*EXPERIMENT, *model_keys(params["model"], "model", Problems())[1]}


def _read_settings(settings: dict[Any, Any], place: Place, problems: Problems) -> dict[str, Any]:
    model, keys = model_keys(settings.get("model"), place("model"), problems)
    params = read_keys(
        {**EXPERIMENT, **keys}, settings, place, problems, _ELSEWHERE, allow_others=model is None
    )
    if model is not None:
        check_layers(model, params, place, problems)
    if isinstance(params.get("metrics"), str):
        params["metrics"] = [params["metrics"]]
    if "metrics" in params:
        params["metrics"] = list(dict.fromkeys(params["metrics"]))
    if params.get("debug_mode"):
        logger.warning(
            "debug_mode: True has no effect: in FuxiCTR it only makes the tuner's ids random. This run "
            "is a whole run."
        )
    return params


def _read_dataset_of(
    params: dict[str, Any], config_dir: str | Path, place: Place, problems: Problems
) -> dict[str, Any]:
    """Return what is right of the experiment's dataset, with its groups."""
    if "dataset_id" not in params:
        return {}
    try:
        section, known = find_dataset(config_dir, params["dataset_id"])
    except ConfigError as error:
        problems.add(place("dataset_id"), str(error))
        return {}
    dataset = read_dataset(section, known, problems)
    if "group_id" in dataset:
        if params.get("group_id") not in (None, dataset["group_id"]):
            logger.warning(
                "group_id: the dataset's, %r, is used; the experiment names %r.",
                dataset["group_id"],
                params["group_id"],
            )
        group_id, at = dataset["group_id"], section.place("group_id")
    else:
        group_id, at = params.get("group_id"), place("group_id")
    if group_id is not None:
        add_groups(dataset, group_id, at, problems)
    return dataset


def _check_together(
    params: dict[str, Any], dataset: dict[str, Any], place: Place, problems: Problems
) -> None:
    """Check and complete what hangs together, where its parts are right by themselves."""
    if "label_col" in dataset and {"task", "loss", "task_labels", "num_tasks"} <= params.keys():
        labels = [label["name"] for label in dataset["label_col"]]
        if params["task_labels"] is None:
            named = dict.fromkeys(col["name"] for col in labels_of_files(dataset["label_col"]))
            named.pop(params.get("sample_weight"), None)
            params["task_labels"] = list(named)
        tasks = choose_tasks(params, labels, place, problems)
        _check_predictions(params, tasks, place, problems)
        if tasks:
            check_model({**params, **dataset}, place, problems)
            check_losses(params, dataset["label_col"], place, problems)
        if tasks and {"metrics", "monitor", "monitor_mode"} <= params.keys():
            group_id = dataset.get("group_id", params.get("group_id"))
            choose_monitor(params, tasks, group_id is not None, place, problems)
    if "feature_cols" in dataset:
        check_use_features(params, dataset["feature_cols"], place("use_features"), problems)
        read_feature_specs(params, dataset["feature_cols"], place("feature_specs"), problems)


def _check_predictions(
    params: Mapping[str, Any], tasks: Mapping[str, str], place: Place, problems: Problems
) -> None:
    """Note columns of saved predictions that would have one name."""
    more = params.get("prediction_columns") or []
    if not params.get("save_predictions"):
        if more:
            problems.add(
                place("prediction_columns"),
                "adds columns to saved predictions, but none are saved.",
                "Set save_predictions: True.",
            )
        return
    names = {
        GROUP: "groups",
        GROUP_KEY: "raw values of the groups",
        **{f"{label}_pred": f"outputs of {label!r}" for label in tasks},
    }
    for label in names.keys() & tasks.keys():
        problems.add(
            place("task_labels"),
            f"{label!r} is what the {names[label]} are called in saved predictions.",
            "Rename that label, with preprocess: copy_from(...), or set save_predictions: False.",
        )
    names |= dict.fromkeys(tasks, "labels")
    for column in dict.fromkeys(more):
        if more.count(column) > 1:
            problems.add(place("prediction_columns"), f"names {column!r} twice.", "Keep one.")
        if column in names:
            problems.add(
                place("prediction_columns"),
                f"names {column!r}, but in saved predictions that is the name of the {names[column]}.",
                "Leave it out, or declare a copy by another name: type: meta, preprocess: "
                f"copy_from({column}).",
            )
