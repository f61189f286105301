"""The benchmark file: which experiments, seeds and search, checked as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fuxictr_stem.benchmark.run.benchmark_file import BenchmarkFile, Slices
from fuxictr_stem.config.column_words import META
from fuxictr_stem.config.experiment_config import accepted_keys, list_experiments, load_experiment
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner, read_keys
from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.config.yaml_files import read_mapping
from fuxictr_stem.errors import ConfigError, Problem, short, suggest
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.tuning.samplers import check_sampler
from fuxictr_stem.tuning.space import (
    MOST_TRIALS,
    Search,
    budget_problems,
    key_problems,
    points_to_check,
    read_space,
)

# The runner's own: a benchmark that set them would break its own bookkeeping.
_RUNNERS = ("seed", "model_root", "save_predictions", "model", "dataset_id")
# The comparison reads them.
SAVED = {"save_predictions": True}
SINGLE_TASK = "SingleTask"

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """A checked benchmark file."""

    name: str
    dataset_id: str
    experiments: dict[str, dict[str, Any]]  # checked parameters by id, ``settings`` applied
    single_task: list[str]
    proposed: list[str]  # ids of the models that are no baselines
    labels: list[str]
    metrics: list[str]
    seeds: list[int]  # the search runs on the first
    settings: dict[str, dict[str, Any]]  # that apply to each experiment
    search: Search  # of each experiment; of one trial without keys
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
    """Read and check a benchmark file and every experiment that it names; all problems come at once."""
    problems = Problems(lambda key: f"{path.name}, {key}")
    subject = f"Benchmark {path}"
    values = read_keys(BenchmarkFile.model_fields, read_mapping(path), problems)
    for name in ("experiments", "exclude", "single_task", "proposed", "metrics"):
        if isinstance(values.get(name), str):
            values[name] = [values[name]]
    if values.get("slices") is not None:
        values["slices"] = read_inner(Slices.model_fields, values["slices"], "slices", problems)
    problems.raise_any(subject)
    chosen, single, proposed = _chosen(values, config_dir, problems)
    settings = _settings_of_each(values, chosen + single, config_dir, problems)
    space = read_space(values["search"], values["sampler"], "search", problems)
    search = Search(space, values["sampler"], values["trials"])
    problems.add_all(budget_problems("search", search, MOST_TRIALS))
    # Each experiment would repeat what is said.
    problems.raise_any(subject)
    check_sampler(search.sampler)
    experiments = _load_all(settings, points_to_check(search), values, config_dir, problems)
    # The single-task experiments decide what is compared, or all.
    of_single = {expid: experiments[expid] for expid in single if expid in experiments}
    labels = list(values["labels"] or _in_order(label_types(of_single), experiments))
    unchanged = ("dataset_id", "seeds", "threads", "resamples", "slices")
    benchmark = Benchmark(
        name=path.stem,
        experiments=experiments,
        single_task=single,
        proposed=proposed,
        labels=labels,
        metrics=list(dict.fromkeys(values["metrics"])),
        settings=settings,
        search=search,
        **{name: values[name] for name in unchanged},
    )
    for rule in (_label_problems, _metric_problems, _slice_problems, _row_problems):
        problems.add_all(rule(benchmark))
    problems.raise_any(subject)
    return benchmark


def label_types(experiments: Mapping[str, Params]) -> dict[str, str]:
    """Return the task type of each label that an experiment trains."""
    return {k: v for params in experiments.values() for k, v in task_types(params).items()}


def _in_order(labels: Collection[str], experiments: Mapping[str, Params]) -> list[str]:
    """Return labels, or all, in the order in which the models of several tasks have them: the user's."""
    of_several = {e: params for e, params in experiments.items() if len(params["task_labels"]) > 1}
    every = label_types(of_several) | label_types(experiments)
    return [label for label in every if label in labels or not labels]


def _chosen(
    values: Params, config_dir: Path, problems: Problems
) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of the multi-task, the single-task and the proposed experiments."""
    expids = list_experiments(config_dir)
    fitting: dict[str, list[str]] = {}
    for name in ("experiments", "exclude", "single_task", "proposed"):
        fitting[name] = []
        for pattern in values[name] or []:
            matches = [expid for expid in expids if fnmatchcase(expid, pattern)]
            if not matches:
                folder = f"the folder {str(config_dir)!r}, which has {len(expids)}."
                hint = f"{suggest(pattern, expids)} --config-dir names another folder."
                problems.add(name, f"no experiment id matches {short(pattern)} in {folder}", hint)
            fitting[name] = list(dict.fromkeys([*fitting[name], *matches]))
    exclude, proposed = fitting["exclude"], fitting["proposed"]
    single = [expid for expid in fitting["single_task"] if expid not in exclude]
    chosen = [expid for expid in fitting["experiments"] if expid not in exclude + single]
    if not problems:
        stray = [expid for expid in proposed if expid not in chosen]
        if not chosen:
            problems.add("experiments", "names only experiments that are excluded.")
        elif stray:
            problems.add("proposed", f"{', '.join(stray)}: not among the experiments.")
    return chosen, single, proposed


def _settings_of_each(
    values: Params, expids: list[str], config_dir: Path, problems: Problems
) -> dict[str, dict[str, Any]]:
    """Return the settings that apply to each experiment; the search's keys must fit all."""
    keys: dict[str, set[str]] = {}
    for expid in expids:
        try:
            keys[expid] = accepted_keys(config_dir, expid, SAVED)
        except ConfigError as error:
            problems.add_error("experiments", error)
    everything = set().union(*keys.values())
    of_each = {
        expid: {name: value for name, value in values["settings"].items() if name in accepted}
        for expid, accepted in keys.items()
    }
    wanted = [(name, values[name], everything) for name in ("settings", "search")]
    for pattern, settings in values["experiment_settings"].items():
        fitting = [expid for expid in keys if fnmatchcase(expid, pattern)]
        if keys and not fitting:
            problems.add(
                "experiment_settings", f"no experiment of this benchmark matches {short(pattern)}."
            )
        for expid in fitting:
            wanted.append((f"experiment_settings, {short(pattern)}", settings, keys[expid]))
            of_each[expid] |= settings
    for where, settings, accepted in wanted:
        for name in settings:
            if name in _RUNNERS:
                problems.add(where, f"{name} is set by the benchmark.", "Leave it out.")
            elif accepted and name not in accepted:
                near = suggest(name, accepted)
                problems.add(where, f"no experiment has a key {short(name)}.", near)
    hint = "Leave it out, or set it under settings."
    problems.add_all(key_problems("search", values["search"], hint))
    for key in values["search"]:
        if lacking := [expid for expid, names in keys.items() if key in everything - names]:
            text = f"{', '.join(lacking)} have no key {key!r}: the search is one budget for all models."
            problems.add("search", text, "Search keys that every model has.")
    return of_each


def _load_all(
    settings: Mapping[str, dict[str, Any]],
    trials: list[dict[str, Any]],
    values: Params,
    config_dir: Path,
    problems: Problems,
) -> dict[str, dict[str, Any]]:
    """Return each experiment's parameters, after checking them with every trial.

    Metrics that are compared and that an experiment does not report are added to its settings.
    """
    experiments = {}
    for expid, overrides in settings.items():
        try:
            params = load_experiment(config_dir, expid, overrides=overrides | SAVED)
            for trial in trials:
                tried = load_experiment(config_dir, expid, overrides=overrides | SAVED | trial)
                if tried["task_labels"] != params["task_labels"]:
                    now, then = (", ".join(p["task_labels"]) for p in (tried, params))
                    text = f"{short(trial)} has {expid} train {now}, not {then}."
                    problems.add("search", text, "Set its task_labels.")
                    break
            if not set(values["metrics"]) <= set(params["metrics"]):
                reported = [*params["metrics"], *values["metrics"]]
                overrides["metrics"] = list(dict.fromkeys(reported))
                # A default would follow the metrics, and early stopping with it.
                overrides |= {name: params[name] for name in ("monitor", "monitor_mode")}
                params = load_experiment(config_dir, expid, overrides=overrides | SAVED)
        except ConfigError as error:
            problems.add_error("experiments", error)
            continue
        experiments[expid] = params
        if params["dataset_id"] != values["dataset_id"]:
            dataset, wanted = params["dataset_id"], short(values["dataset_id"])
            hint = "A benchmark compares on one dataset: narrow the pattern, or exclude it."
            problems.add("experiments", f"{expid} is on {dataset!r}, not on {wanted}.", hint)
    if any(params["test_data"] is None for params in experiments.values()):
        text = f"{short(values['dataset_id'])} has no test_data, on which a benchmark compares."
        problems.add("dataset_id", text, "Give the dataset a test split.")
    return experiments


def _label_problems(benchmark: Benchmark) -> Iterator[Problem]:
    """Yield labels that are not trained or compared, and single-task experiments of several."""
    for expid in benchmark.single_task:
        of_expid = benchmark.experiments.get(expid, {}).get("task_labels", [""])
        if len(of_expid) != 1:
            yield Problem("single_task", f"{expid} trains {', '.join(of_expid)}, not one label.")
    labels, trained = benchmark.labels, label_types(benchmark.experiments)
    for label in labels if trained else ():
        if label not in trained:
            near = suggest(label, trained)
            yield Problem("labels", f"no experiment trains {short(label)}.", near)
    for label in benchmark.slices["labels"] if benchmark.slices and trained else ():
        if label not in labels:
            yield Problem("slices.labels", f"{label!r} is not compared.", suggest(label, labels))


def _metric_problems(benchmark: Benchmark) -> Iterator[Problem]:
    """Yield metrics that no compared task has, and tasks without a metric: they would stay empty."""
    types, metrics = label_types(benchmark.experiments), benchmark.metrics
    tasks = [types[label] for label in benchmark.labels if label in types]
    fitting = [name for name, metric in METRICS.items() if metric.task in tasks]
    for name in metrics if tasks else ():
        if name not in fitting:
            hint = f"Metrics of these tasks: {', '.join(fitting)}."
            yield Problem("metrics", f"{name} does not apply to any task that is compared.", hint)
    for task in dict.fromkeys(tasks):
        of_task = [name for name in fitting if METRICS[name].task == task]
        if not set(of_task) & set(metrics):
            hint = f"Add one of {', '.join(of_task)}, or leave these tasks out by labels."
            yield Problem("metrics", f"has none for the {task} tasks.", hint)


def _slice_problems(benchmark: Benchmark) -> Iterator[Problem]:
    """Yield slices by labels that have no positives, and by groups that the cache merges."""
    slices, experiments = benchmark.slices, list(benchmark.experiments.values())
    if slices is None:
        return
    if not benchmark.single_task:
        text = "show the lift over single-task models, but there are none."
        yield Problem("slices", text, "Name some under single_task, or leave slices out.")
    if any(params.get("group_id") is None for params in experiments):
        yield Problem("slices", "need the users: set group_id of the dataset to their column.")
    if slices["thresholds"] is not None and slices["quantiles"] is not None:
        text = "have both thresholds and quantiles, of which only one can bound them."
        yield Problem("slices", text)
    types = label_types(benchmark.experiments)
    for label in slices["labels"]:
        if types.get(label, BINARY) != BINARY:
            text = f"{label!r} is a {types[label]} task: it has no positives."
            yield Problem("slices.labels", text)
    group = slices["group"]
    for params in experiments:
        kept = [c["name"] for c in params["feature_cols"] if c["active"] and c["type"] == META]
        if group is not None and group not in kept:
            text = f"{group!r} is not a meta column of the dataset; in others, rare values share one id."
            hint = suggest(group, kept) or f"Add one that copies it. There are: {', '.join(kept)}."
            yield Problem("slices.group", text, hint)
            break


def _row_problems(benchmark: Benchmark) -> Iterator[Problem]:
    """Yield experiments that would share a row, of which only one would be shown."""
    sharing: dict[tuple[str, str | None], list[str]] = {}
    for expid, params in benchmark.experiments.items():
        label = params["task_labels"][0] if expid in benchmark.single_task else None
        sharing.setdefault((benchmark.row(expid), label), []).append(expid)
    for (row, label), expids in sharing.items():
        both = " and ".join(expids)
        if row == SINGLE_TASK and label is None:
            text = (
                f"{expids[0]} would be called {row}, which is the name of the single-task "
                "experiments together."
            )
            yield Problem("experiments", text, "Exclude it, or name it under single_task.")
        elif len(expids) > 1 and label is not None:
            text = f"{both} both train {label!r}."
            yield Problem("single_task", text, "Name one per label, or exclude the others.")
        elif len(expids) > 1:
            text = f"{both} would both be called {row}."
            yield Problem("experiments", text, "Rename one, or exclude it.")
