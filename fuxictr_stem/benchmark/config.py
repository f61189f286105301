"""The benchmark file: which experiments, seeds and search, checked as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fuxictr_stem.analysis.slices import RELATIVE_TO
from fuxictr_stem.config import accepted_keys, list_experiments, load_experiment
from fuxictr_stem.config.checking import Problems, read_keys
from fuxictr_stem.config.kinds import (
    PLAIN_MAPPING,
    TEXT,
    Kind,
    Refused,
    choice,
    list_of,
    number,
    one_or_list,
    optional,
    whole,
)
from fuxictr_stem.config.schema import REQUIRED, Key
from fuxictr_stem.config.yaml_files import read_mapping
from fuxictr_stem.errors import ConfigError, suggest
from fuxictr_stem.metrics import METRICS

# The runner's own: a benchmark that set them would break its own bookkeeping.
_RUNNERS = ("seed", "model_root", "save_predictions", "model", "dataset_id")


def _read_seeds(value: Any) -> list[int]:
    seeds = list_of(whole(0, 2**32 - 1), 1).read(value)
    if len(set(seeds)) < len(seeds):
        raise Refused("Name each seed once.")
    return seeds


def _read_grid(value: Any) -> dict[str, list[Any]]:
    grid = PLAIN_MAPPING.read(value)
    if not all(isinstance(values, list) and values for values in grid.values()):
        raise Refused("Give each key a list of values.")
    return grid


def _read_by_glob(value: Any) -> dict[str, dict[str, Any]]:
    by_glob = PLAIN_MAPPING.read(value)
    return {pattern: PLAIN_MAPPING.read(settings) for pattern, settings in by_glob.items()}


SINGLE_TASK = "SingleTask"
_IDS = one_or_list(TEXT)
# As `analysis.slices.positive_balance` takes them.
SLICES: dict[str, Key] = {
    "labels": Key(list_of(TEXT, 2), "the two tasks whose positive feedback is compared", REQUIRED),
    "group": Key(optional(TEXT), "column of the groups; by default group_id", None),
    "relative_to": Key(choice(RELATIVE_TO), "what a count is measured by", "base_rate"),
    "smoothing": Key(number(0), "pseudo-rows of a group", 20.0),
    "thresholds": Key(optional(list_of(number(), 2)), "bounds of the comparable log2 ratio", None),
    "quantiles": Key(optional(list_of(number(0), 2)), "the same as quantiles over groups", None),
    "min_rows": Key(whole(0), "fewer train rows make a group cold", 5),
}
BENCHMARK: dict[str, Key] = {
    "dataset_id": Key(TEXT, "the dataset", REQUIRED),
    "experiments": Key(_IDS, "experiment ids or globs of them", REQUIRED),
    "exclude": Key(_IDS, "ids or globs of experiments to leave out", []),
    "single_task": Key(optional(_IDS), "ids or globs, each an experiment of one label", None),
    "proposed": Key(_IDS, "ids or globs of the models that are no baselines", []),
    "labels": Key(optional(list_of(TEXT, 1)), "tasks to compare; null for all", None),
    "metrics": Key(one_or_list(choice(METRICS)), "metrics to compare", ["AUC", "gAUC", "logloss"]),
    "seeds": Key(Kind("a list of different seeds", _read_seeds), "seeds of the runs", REQUIRED),
    "settings": Key(PLAIN_MAPPING, "settings for every experiment that has the key", {}),
    "experiment_settings": Key(
        Kind("a mapping of ids or globs to mappings", _read_by_glob),
        "settings for some experiments, after those for all",
        {},
    ),
    "search": Key(
        Kind("a mapping of keys to lists of values", _read_grid), "grid of the search", {}
    ),
    "threads": Key(whole(1), "CPU threads of a run", 1),
    "resamples": Key(whole(100), "resamples of the bootstrap", 1000),
    "slices": Key(optional(PLAIN_MAPPING), "comparable samples", None),
}


@dataclass(frozen=True)
class Benchmark:
    """A checked benchmark file.

    Attributes:
        name: Its name, that of the file.
        dataset_id: The dataset.
        experiments: Per experiment id its checked parameters, with ``settings`` applied.
        single_task: The ids of the single-task experiments.
        proposed: The ids of the models that are no baselines.
        labels: The tasks that are compared.
        metrics: The metrics that are compared.
        seeds: The seeds; the search runs on the first.
        settings: Per experiment id the settings that apply to it.
        trials: The search's settings, one mapping a trial; one empty mapping without a search.
        threads: CPU threads of a run.
        resamples: Resamples of the bootstrap.
        slices: How comparable samples are told apart, or None.
    """

    name: str
    dataset_id: str
    experiments: dict[str, dict[str, Any]]
    single_task: list[str]
    proposed: list[str]
    labels: list[str]
    metrics: list[str]
    seeds: list[int]
    settings: dict[str, dict[str, Any]]
    trials: list[dict[str, Any]]
    threads: int
    resamples: int
    slices: dict[str, Any] | None

    def row(self, expid: str) -> str:
        """Return the name of an experiment's row: its model, or its id where that is not unique."""
        if expid in self.single_task:
            return SINGLE_TASK
        model = self.experiments[expid]["model"]
        multi = [params for e, params in self.experiments.items() if e not in self.single_task]
        unique = sum(params["model"] == model for params in multi) == 1
        return model if unique else expid.removesuffix(f"_{self.dataset_id}")


def load_benchmark(path: Path, config_dir: Path) -> Benchmark:
    """Read and check a benchmark file and every experiment that it names.

    Args:
        path: The YAML file.
        config_dir: Folder of the model and dataset configs.

    Raises:
        ConfigError: With all problems at once.
    """
    settings = read_mapping(path)
    problems = Problems()

    def place(key: object) -> str:
        return f"{path.name}, {key}"

    values = read_keys(BENCHMARK, settings, place, problems)
    for key in ("experiments", "exclude", "single_task", "proposed", "metrics"):
        if isinstance(values.get(key), str):
            values[key] = [values[key]]
    if values.get("slices") is not None:
        values["slices"] = read_keys(
            SLICES, values["slices"], lambda key: f"{place('slices')}.{key}", problems
        )
    problems.raise_any(f"Benchmark {path}")
    known = list_experiments(config_dir)
    chosen, single, proposed = _chosen(values, known, place, problems)
    own = _apply(values, chosen + single, config_dir, place, problems)
    trials = [
        dict(zip(values["search"], point, strict=True))
        for point in itertools.product(*values["search"].values())
    ]
    experiments = _load_all(chosen + single, own, trials, values, config_dir, place, problems)
    for expid in single:
        labels = experiments.get(expid, {}).get("task_labels", [""])
        if len(labels) != 1:
            problems.add(
                place("single_task"), f"{expid} trains {', '.join(labels)}, not one label."
            )
    if values["slices"] and any(p.get("group_id") is None for p in experiments.values()):
        problems.add(
            place("slices"), "need the users: set group_id of the dataset to their column."
        )
    labels = _labels(values, experiments, chosen, single, place, problems)
    problems.raise_any(f"Benchmark {path}")
    return Benchmark(
        name=path.stem,
        dataset_id=values["dataset_id"],
        experiments=experiments,
        single_task=single,
        proposed=proposed,
        labels=labels,
        metrics=list(dict.fromkeys(values["metrics"])),
        seeds=values["seeds"],
        settings=own,
        trials=trials,
        threads=values["threads"],
        resamples=values["resamples"],
        slices=values["slices"],
    )


def _chosen(
    values: Mapping[str, Any], known: list[str], place: Any, problems: Problems
) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of the multi-task, the single-task and the proposed experiments."""
    found: dict[str, list[str]] = {}
    for key in ("experiments", "exclude", "single_task", "proposed"):
        found[key] = []
        for pattern in values[key] or []:
            ids = [expid for expid in known if fnmatchcase(expid, pattern)]
            if not ids:
                problems.add(
                    place(key), f"no experiment id fits {pattern!r}.", suggest(pattern, known)
                )
            found[key] += [expid for expid in ids if expid not in found[key]]
    single = [expid for expid in found["single_task"] if expid not in found["exclude"]]
    chosen = [e for e in found["experiments"] if e not in found["exclude"] + single]
    if not chosen and not problems.lines:
        problems.add(place("experiments"), "names no experiment that is not excluded.")
    stray = [expid for expid in found["proposed"] if expid not in chosen]
    if stray and not problems.lines:
        problems.add(place("proposed"), f"{', '.join(stray)}: not among the experiments.")
    return chosen, single, found["proposed"]


def _apply(
    values: Mapping[str, Any], ids: list[str], config_dir: Path, place: Any, problems: Problems
) -> dict[str, dict[str, Any]]:
    """Return the settings that apply to each experiment; the search's keys must fit all."""
    keys: dict[str, set[str]] = {}
    for expid in ids:
        try:
            keys[expid] = accepted_keys(config_dir, expid)
        except ConfigError as error:
            problems.add(place("experiments"), str(error))
    everything = set().union(*keys.values()) if keys else set()
    own = {
        expid: {key: value for key, value in values["settings"].items() if key in known}
        for expid, known in keys.items()
    }
    asked = [("settings", values["settings"], everything), ("search", values["search"], everything)]
    for pattern, settings in values["experiment_settings"].items():
        fitting = [expid for expid in keys if fnmatchcase(expid, pattern)]
        if keys and not fitting:
            problems.add(place("experiment_settings"), f"no experiment here fits {pattern!r}.")
        for expid in fitting:
            asked.append((f"experiment_settings, {pattern}", settings, keys[expid]))
            own[expid] |= settings
    for name, settings, known in asked:
        for key in settings:
            if key in _RUNNERS:
                problems.add(place(name), f"{key} is the benchmark's own.", "Leave it out.")
            elif known and key not in known:
                problems.add(place(name), f"no experiment has a key {key!r}.", suggest(key, known))
    for key in values["search"]:
        lacking = [expid for expid, own in keys.items() if key in everything and key not in own]
        if lacking:
            problems.add(
                place("search"),
                f"{', '.join(lacking)} have no key {key!r}: the search is one budget for all models.",
                "Search keys that every model has.",
            )
    return own


def _load_all(
    ids: list[str],
    own: Mapping[str, dict[str, Any]],
    trials: list[dict[str, Any]],
    values: Mapping[str, Any],
    config_dir: Path,
    place: Any,
    problems: Problems,
) -> dict[str, dict[str, Any]]:
    """Return each experiment's parameters, after checking them with every trial.

    Metrics that are compared and that an experiment does not report are added to its settings.
    """
    experiments = {}
    for expid in ids:
        if expid not in own:
            continue
        try:
            for trial in trials:
                load_experiment(config_dir, expid, overrides={**own[expid], **trial})
            experiments[expid] = load_experiment(config_dir, expid, overrides=own[expid])
        except ConfigError as error:
            problems.add(place("experiments"), str(error))
            continue
        dataset = experiments[expid]["dataset_id"]
        if dataset != values["dataset_id"]:
            problems.add(
                place("experiments"),
                f"{expid} is on {dataset!r}, not on {values['dataset_id']!r}.",
                "A benchmark compares on one dataset: narrow the glob, or exclude it.",
            )
        if not set(values["metrics"]) <= set(experiments[expid]["metrics"]):
            reported = [*experiments[expid]["metrics"], *values["metrics"]]
            own[expid]["metrics"] = list(dict.fromkeys(reported))
            experiments[expid] = load_experiment(config_dir, expid, overrides=own[expid])
    return experiments


def _labels(
    values: Mapping[str, Any],
    experiments: Mapping[str, dict[str, Any]],
    chosen: list[str],
    single: list[str],
    place: Any,
    problems: Problems,
) -> list[str]:
    """Return the tasks to compare: the single-task ones, or all that an experiment trains."""
    trained = {e: experiments[e]["task_labels"] for e in chosen + single if e in experiments}
    everything = list(dict.fromkeys(label for own in trained.values() for label in own))
    by_single = list(dict.fromkeys(label for e in single for label in trained.get(e, [])))
    labels = values["labels"] or by_single or everything
    for label in labels:
        if experiments and label not in everything:
            problems.add(
                place("labels"), f"no experiment trains {label!r}.", suggest(label, everything)
            )
    for label in (values["slices"] or {}).get("labels", []):
        if experiments and label not in labels:
            problems.add(
                f"{place('slices')}.labels", f"{label!r} is not compared.", suggest(label, labels)
            )
    return list(labels)
