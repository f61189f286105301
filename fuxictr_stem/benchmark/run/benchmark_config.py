"""The benchmark file: which experiments, seeds and search, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fuxictr_stem.analysis.slices import RELATIVE_TO
from fuxictr_stem.benchmark.run.search import GRID, check_search, trials_of
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
from fuxictr_stem.config.values import META
from fuxictr_stem.config.yaml_files import read_mapping
from fuxictr_stem.errors import ConfigError, short, suggest
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.metrics.tasks import BINARY

# The runner's own: a benchmark that set them would break its own bookkeeping.
_RUNNERS = ("seed", "model_root", "save_predictions", "model", "dataset_id")
# The comparison reads them.
SAVED = {"save_predictions": True}


def _read_seeds(value: Any) -> list[int]:
    seeds = list_of(whole(0, 2**32 - 1), 1).read(value)
    if len(set(seeds)) < len(seeds):
        raise Refused("Name each seed once.")
    return seeds


def _read_by_glob(value: Any) -> dict[str, dict[str, Any]]:
    by_glob = PLAIN_MAPPING.read(value)
    return {pattern: PLAIN_MAPPING.read(settings) for pattern, settings in by_glob.items()}


def _read_two_tasks(value: Any) -> list[str]:
    labels = list_of(TEXT).read(value)
    if len(labels) != 2 or labels[0] == labels[1]:
        raise Refused
    return labels


def _rising(low: float | None = None, high: float | None = None) -> Kind:
    """Two numbers of a range, the lower one first."""

    def read(value: Any) -> list[float]:
        bounds = list_of(number(low)).read(value)
        if len(bounds) != 2 or bounds[0] > bounds[1] or (high is not None and bounds[1] > high):
            raise Refused
        return bounds

    extent = "" if low is None else f" from {low:g} to {high:g}"
    return Kind(f"[low, high], two numbers{extent}, the lower one first", read)


SINGLE_TASK = "SingleTask"
_IDS = one_or_list(TEXT)
_SOME_IDS = Kind(
    "text, or a list of that", lambda v: list_of(TEXT).read(v if isinstance(v, list) else [v])
)
# As `analysis.slices.positive_balance` takes them.
SLICES: dict[str, Key] = {
    "labels": Key(
        Kind("a list of two different labels", _read_two_tasks),
        "the two tasks whose positive feedback is compared",
        REQUIRED,
    ),
    "group": Key(optional(TEXT), "column of the groups; by default group_id", None),
    "relative_to": Key(choice(RELATIVE_TO), "what a count is measured by", "base_rate"),
    "smoothing": Key(number(0), "pseudo-rows of a group", 20.0),
    "thresholds": Key(optional(_rising()), "bounds of the comparable log2 ratio", None),
    "quantiles": Key(optional(_rising(0, 1)), "the same as quantiles over groups", None),
    "min_rows": Key(whole(0), "fewer train rows make a group cold", 5),
}
BENCHMARK: dict[str, Key] = {
    "dataset_id": Key(TEXT, "the dataset", REQUIRED),
    "experiments": Key(_IDS, "experiment ids or globs of them", REQUIRED),
    "exclude": Key(_SOME_IDS, "ids or globs of experiments to leave out", []),
    "single_task": Key(optional(_IDS), "ids or globs, each an experiment of one label", None),
    "proposed": Key(_SOME_IDS, "ids or globs of the models that are no baselines", []),
    "labels": Key(optional(list_of(TEXT, 1)), "tasks to compare; null for all", None),
    "metrics": Key(one_or_list(choice(METRICS)), "metrics to compare", ["AUC", "gAUC", "logloss"]),
    "seeds": Key(Kind("a list of different seeds", _read_seeds), "seeds of the runs", REQUIRED),
    "settings": Key(PLAIN_MAPPING, "settings for every experiment that has the key", {}),
    "experiment_settings": Key(
        Kind("a mapping of ids or globs to mappings", _read_by_glob),
        "settings for some experiments, after those for all",
        {},
    ),
    "search": Key(GRID, "grid of the search", {}),
    "threads": Key(whole(1), "CPU threads of a run", 1),
    # More takes memory and hours, and p values below 1 / 5000 tell nothing more.
    "resamples": Key(whole(100, 10_000), "resamples of the bootstrap", 1000),
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
    chosen, single, proposed = _chosen(values, known, config_dir, place, problems)
    own = _apply(values, chosen + single, config_dir, place, problems)
    # Each experiment would say again what is said.
    problems.raise_any(f"Benchmark {path}")
    trials = trials_of(values["search"])
    experiments = _load_all(chosen + single, own, trials, values, config_dir, place, problems)
    for expid in single:
        labels = experiments.get(expid, {}).get("task_labels", [""])
        if len(labels) != 1:
            problems.add(
                place("single_task"), f"{expid} trains {', '.join(labels)}, not one label."
            )
    labels = _labels(values, experiments, chosen, single, place, problems)
    types = label_types(experiments)
    _check_metrics(
        values["metrics"], [types[label] for label in labels if label in types], place, problems
    )
    if values["slices"]:
        if not single:
            problems.add(
                place("slices"),
                "show the lift over single-task models, but there are none.",
                "Name some under single_task, or leave slices out.",
            )
        _check_slices(values["slices"], experiments, types, place, problems)
    problems.raise_any(f"Benchmark {path}")
    benchmark = Benchmark(
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
    _check_rows(benchmark, place, problems)
    problems.raise_any(f"Benchmark {path}")
    return benchmark


def label_types(experiments: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the task type of each label that an experiment trains."""
    return {
        label: task
        for params in experiments.values()
        for label, task in zip(params["task_labels"], params["task"], strict=True)
    }


def _chosen(
    values: Mapping[str, Any], known: list[str], config_dir: Path, place: Any, problems: Problems
) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of the multi-task, the single-task and the proposed experiments."""
    found: dict[str, list[str]] = {}
    for key in ("experiments", "exclude", "single_task", "proposed"):
        found[key] = []
        for pattern in values[key] or []:
            ids = [expid for expid in known if fnmatchcase(expid, pattern)]
            if not ids:
                near = suggest(pattern, known).strip()
                problems.add(
                    place(key),
                    f"no experiment id fits {short(pattern)} in the folder {str(config_dir)!r}, which has "
                    f"{len(known)}.",
                    f"{near} --config-dir names another folder.".strip(),
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
            keys[expid] = accepted_keys(config_dir, expid, SAVED)
        except ConfigError as error:
            problems.add_error(place("experiments"), error)
    everything = set().union(*keys.values()) if keys else set()
    own = {
        expid: {key: value for key, value in values["settings"].items() if key in known}
        for expid, known in keys.items()
    }
    asked = [("settings", values["settings"], everything), ("search", values["search"], everything)]
    for pattern, settings in values["experiment_settings"].items():
        fitting = [expid for expid in keys if fnmatchcase(expid, pattern)]
        if keys and not fitting:
            problems.add(place("experiment_settings"), f"no experiment here fits {short(pattern)}.")
        for expid in fitting:
            asked.append((f"experiment_settings, {short(pattern)}", settings, keys[expid]))
            own[expid] |= settings
    for name, settings, known in asked:
        for key in settings:
            if key in _RUNNERS:
                problems.add(place(name), f"{key} is the benchmark's own.", "Leave it out.")
            elif known and key not in known:
                problems.add(
                    place(name), f"no experiment has a key {short(key)}.", suggest(key, known)
                )
    check_search(values["search"], keys, place, problems)
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
            params = load_experiment(config_dir, expid, overrides=own[expid] | SAVED)
            for trial in trials:
                tried = load_experiment(config_dir, expid, overrides=own[expid] | SAVED | trial)
                if tried["task_labels"] != params["task_labels"]:
                    problems.add(
                        place("search"),
                        f"{short(trial)} has {expid} train {', '.join(tried['task_labels'])}, not "
                        f"{', '.join(params['task_labels'])}.",
                        "Set its task_labels.",
                    )
                    break
            if not set(values["metrics"]) <= set(params["metrics"]):
                reported = [*params["metrics"], *values["metrics"]]
                own[expid]["metrics"] = list(dict.fromkeys(reported))
                # A default would follow the metrics, and early stopping with it.
                own[expid] |= {key: params[key] for key in ("monitor", "monitor_mode")}
                params = load_experiment(config_dir, expid, overrides=own[expid] | SAVED)
        except ConfigError as error:
            problems.add_error(place("experiments"), error)
            continue
        experiments[expid] = params
        dataset = params["dataset_id"]
        if dataset != values["dataset_id"]:
            problems.add(
                place("experiments"),
                f"{expid} is on {dataset!r}, not on {short(values['dataset_id'])}.",
                "A benchmark compares on one dataset: narrow the glob, or exclude it.",
            )
    if any(params["test_data"] is None for params in experiments.values()):
        problems.add(
            place("dataset_id"),
            f"{short(values['dataset_id'])} has no test_data, on which a benchmark compares.",
            "Give the dataset a test split.",
        )
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
                place("labels"), f"no experiment trains {short(label)}.", suggest(label, everything)
            )
    for label in (values["slices"] or {}).get("labels", []):
        if experiments and label not in labels:
            problems.add(
                f"{place('slices')}.labels", f"{label!r} is not compared.", suggest(label, labels)
            )
    return list(labels)


def _check_metrics(metrics: list[str], tasks: list[str], place: Any, problems: Problems) -> None:
    """Refuse metrics that no compared task has, and tasks without a metric: they stay empty."""
    fitting = {name for name, metric in METRICS.items() if metric.task in tasks}
    for name in metrics:
        if tasks and name not in fitting:
            problems.add(
                place("metrics"),
                f"no task that is compared has {name}.",
                f"Metrics of these tasks: {', '.join(n for n in METRICS if n in fitting)}.",
            )
    for task in dict.fromkeys(tasks):
        own = [name for name, metric in METRICS.items() if metric.task == task]
        if not set(own) & set(metrics):
            problems.add(
                place("metrics"),
                f"has none for the {task} tasks.",
                f"Add one of {', '.join(own)}, or leave these tasks out by labels.",
            )


def _check_slices(
    slices: Mapping[str, Any],
    experiments: Mapping[str, dict[str, Any]],
    types: Mapping[str, str],
    place: Any,
    problems: Problems,
) -> None:
    """Refuse slices by labels that have no positives, and by groups that the cache merges."""
    if any(params.get("group_id") is None for params in experiments.values()):
        problems.add(
            place("slices"), "need the users: set group_id of the dataset to their column."
        )
    if slices["thresholds"] is not None and slices["quantiles"] is not None:
        problems.add(
            place("slices"), "have both thresholds and quantiles, of which only one can bound them."
        )
    for label in slices["labels"]:
        if types.get(label, BINARY) != BINARY:
            problems.add(
                f"{place('slices')}.labels",
                f"{label!r} is a {types[label]} task: it has no positives.",
            )
    group = slices["group"]
    for params in experiments.values():
        kept = [c["name"] for c in params["feature_cols"] if c["active"] and c["type"] == META]
        if group is not None and group not in kept:
            problems.add(
                f"{place('slices')}.group",
                f"{group!r} is no meta column of the dataset; of others, all rare values are one.",
                suggest(group, kept) or f"Add one that copies it. There are: {', '.join(kept)}.",
            )
            break


def _check_rows(benchmark: Benchmark, place: Any, problems: Problems) -> None:
    """Refuse experiments that would share a row, of which only one would be shown."""
    by_label: dict[str, list[str]] = {}
    by_row: dict[str, list[str]] = {}
    for expid, params in benchmark.experiments.items():
        if expid in benchmark.single_task:
            by_label.setdefault(params["task_labels"][0], []).append(expid)
        else:
            by_row.setdefault(benchmark.row(expid), []).append(expid)
    for label, ids in by_label.items():
        if len(ids) > 1:
            problems.add(
                place("single_task"),
                f"{' and '.join(ids)} both train {label!r}.",
                "Name one a label, or exclude the others.",
            )
    for row, ids in by_row.items():
        if row == SINGLE_TASK:
            problems.add(
                place("experiments"),
                f"{ids[0]} would be called {row}, as the single-task experiments together are.",
                "Exclude it, or name it under single_task.",
            )
        elif len(ids) > 1:
            problems.add(
                place("experiments"),
                f"{' and '.join(ids)} would both be called {row}.",
                "Rename one, or exclude it.",
            )
