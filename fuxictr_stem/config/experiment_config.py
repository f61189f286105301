"""An experiment: Base, its own settings and its dataset, merged as FuxiCTR does, and checked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fuxictr_stem.config import schema
from fuxictr_stem.config.columns import read_feature_specs, use_features_problems
from fuxictr_stem.config.dataset_config import add_groups, find_dataset, read_dataset
from fuxictr_stem.config.model_parameters import find_model, layer_problems, model_fields
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_keys
from fuxictr_stem.config.tasks import settle_losses, settle_monitor, settle_tasks
from fuxictr_stem.config.yaml_files import (
    Section,
    all_sections,
    check_id,
    find_base,
    find_section,
    ids,
)
from fuxictr_stem.errors import ConfigError, Problem
from fuxictr_stem.training.predictions_file import GROUP

logger = logging.getLogger(__name__)

GROUP_KEY = "group_key"
"""Name of the groups' raw values in saved predictions."""

FindDataset = Callable[[object], tuple[Section, list[str]]]

_ELSEWHERE = dict.fromkeys(
    schema.Dataset.model_fields, "It belongs to the dataset, in dataset_config."
)


def list_experiments(config_dir: str | Path) -> list[str]:
    """Return the ids of all experiments, sorted."""
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
        ``label_col`` are lists of a dict per column, ``group_id`` is a meta column or None.

    Raises:
        ConfigError: If a file or the experiment is absent, or with all problems of the experiment
            at once.
    """
    check_id("expid", expid)
    sections = all_sections(config_dir, "model_config")
    section = find_section(sections, "expid", expid, config_dir)
    find = partial(find_dataset, config_dir)
    return settle_experiment(section, find_base(sections, section), find, dataset_id, overrides)


def settle_experiment(
    section: Section,
    base: Section | None,
    find: FindDataset,
    dataset_id: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check and normalise an experiment of which the sections are there, as `load_experiment` does.

    ``find`` returns the section of a dataset, and the ids of all.
    """
    expid, replaced = section.name, dict(overrides or {})

    def place(key: object) -> str:
        if key in replaced:
            return f"{expid}, override of {key}"
        from_base = base is not None and key in base.settings and key not in section.settings
        return (base if base is not None and from_base else section).place(key)

    problems = Problems(place)
    settings = {**(base.settings if base else {}), **section.settings, **replaced}
    if dataset_id is not None:
        settings["dataset_id"] = dataset_id
    model, params = _read_settings(settings, problems)
    dataset = _read_dataset_of(params, find, problems)
    _settle_together(params, dataset, model, problems)
    problems.raise_any(f"Experiment {expid!r}")
    return {**params, **dataset, "model_id": expid}


def accepted_keys(
    config_dir: str | Path, expid: str, overrides: Mapping[str, Any] | None = None
) -> set[str]:
    """Return the keys that an experiment may hold, those of its model included."""
    params = load_experiment(config_dir, expid, overrides=overrides)
    return {*schema.Experiment.model_fields, *model_fields(find_model(params["model"]))}


def _read_settings(
    settings: dict[Any, Any], problems: Problems
) -> tuple[type | None, dict[str, Any]]:
    """Return the model's class, if there is one, and the settings that are right by themselves."""
    model, fields = None, schema.Experiment.model_fields
    if isinstance(settings.get("model"), str):
        try:
            model = find_model(settings["model"])
            fields = {**fields, **model_fields(model)}
        except ConfigError as error:
            problems.add("model", str(error))
    params = read_keys(fields, settings, problems, _ELSEWHERE, others=None if model else Any)
    if model is not None:
        problems.add_all(layer_problems(model, params))
    if "metrics" in params:
        metrics = params["metrics"]
        params["metrics"] = list(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    if params.get("debug_mode"):
        reason = "in FuxiCTR it only makes the tuner's ids random"
        logger.warning("debug_mode: True has no effect: %s. This run is a whole run.", reason)
    return model, params


def _read_dataset_of(
    params: dict[str, Any], find: FindDataset, problems: Problems
) -> dict[str, Any]:
    """Return what is right of the experiment's dataset, with its groups."""
    if "dataset_id" not in params:
        return {}
    try:
        section, dataset_ids = find(params["dataset_id"])
    except ConfigError as error:
        problems.add("dataset_id", str(error))
        return {}
    dataset = read_dataset(section, dataset_ids, problems)
    group_id = params.get("group_id")
    if "group_id" in dataset:
        if group_id not in (None, dataset["group_id"]):
            logger.warning(
                "group_id: the dataset's, %r, is used; the experiment names %r.",
                *(dataset["group_id"], group_id),
            )
        group_id, problems = dataset["group_id"], problems.at(section.place)
    if group_id is not None:
        add_groups(dataset, group_id, problems)
    return dataset


def _settle_together(
    params: dict[str, Any], dataset: dict[str, Any], model: type | None, problems: Problems
) -> None:
    """Check and complete what hangs together, where its parts are right by themselves."""
    if "label_col" in dataset and {"task", "loss", "task_labels", "num_tasks"} <= params.keys():
        labels = dataset["label_col"]
        tasks = settle_tasks(params, labels, problems)
        problems.add_all(_prediction_problems(params, tasks))
        if tasks:
            # A model checks its own keys against the tasks and the dataset before any data is read.
            of_model = getattr(model, "params_problems", lambda _: ())
            problems.add_all(of_model({**params, **dataset}))
            settle_losses(params, labels, model, problems)
        if tasks and {"metrics", "monitor", "monitor_mode"} <= params.keys():
            group_id = dataset.get("group_id", params.get("group_id"))
            settle_monitor(params, tasks, group_id is not None, problems)
    if "feature_cols" in dataset:
        columns = dataset["feature_cols"]
        problems.add_all(use_features_problems(params.get("use_features"), columns))
        read_feature_specs(params, columns, problems)


def _prediction_problems(params: Mapping[str, Any], tasks: Mapping[str, str]) -> Iterator[Problem]:
    """Yield columns of saved predictions that would have one name."""
    key, columns = "prediction_columns", params.get("prediction_columns") or []
    if not params.get("save_predictions"):
        if columns:
            text = "adds columns to saved predictions, but none are saved."
            yield Problem(key, text, "Set save_predictions: True.")
        return
    names = {
        GROUP: "groups",
        GROUP_KEY: "raw values of the groups",
        **{f"{label}_pred": f"outputs of {label!r}" for label in tasks},
    }
    for label in names.keys() & tasks.keys():
        text = f"{label!r} is also the name of the {names[label]} in saved predictions."
        hint = "Rename that label, with preprocess: copy_from(...), or set save_predictions: False."
        yield Problem("task_labels", text, hint)
    names |= dict.fromkeys(tasks, "labels")
    for column in dict.fromkeys(columns):
        if columns.count(column) > 1:
            yield Problem(key, f"names {column!r} twice.", "Keep one.")
        if column in names:
            text = f"names {column!r}, but in saved predictions that is the name of the {names[column]}."
            copy = f"type: meta, preprocess: copy_from({column})"
            yield Problem(key, text, f"Leave it out, or declare a copy by another name: {copy}.")
