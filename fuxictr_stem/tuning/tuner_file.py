"""FuxiCTR's tuner file: its keys and ours, checked as a whole, and its trials as FuxiCTR names them.

The form and the names are those of FuxiCTR's ``autotuner.enumerate_params``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic.fields import FieldInfo

from fuxictr_stem.config import value_types as kinds
from fuxictr_stem.config.dataset_config import find_dataset
from fuxictr_stem.config.experiment_config import settle_experiment
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_keys
from fuxictr_stem.config.result_settings import as_json
from fuxictr_stem.config.schema import REQUIRED, parameter
from fuxictr_stem.config.tasks import higher_is_better, task_types
from fuxictr_stem.config.yaml_files import (
    Section,
    all_sections,
    check_id,
    find_base,
    find_section,
    read_mapping,
)
from fuxictr_stem.errors import ConfigError, Problem, short, suggest
from fuxictr_stem.metrics import produced_metrics
from fuxictr_stem.tuning.run_spec import digest
from fuxictr_stem.tuning.samplers import check_sampler
from fuxictr_stem.tuning.space import (
    COMPARED_BY,
    GRID,
    SAMPLERS,
    Choices,
    Range,
    Search,
    budget_problems,
    key_problems,
    points_to_check,
    read_space,
)

# No shape: pydantic has another use for the name ``model_config``.
TUNER: Mapping[str, FieldInfo] = {
    "base_config": parameter(
        kinds.FilePath | None, "folder of the configs; by default the folder of this file", None
    ),
    "base_expid": parameter(kinds.Text, "the experiment whose settings are varied", REQUIRED),
    "dataset_id": parameter(kinds.Text | None, "dataset to use instead of the experiment's", None),
    "model_config": parameter(
        kinds.PlainMapping | None,
        "the experiment under its id, instead of one in base_config",
        None,
    ),
    "dataset_config": parameter(
        kinds.PlainMapping | None, "the dataset under its id, instead of one in base_config", None
    ),
    "tuner_space": parameter(
        Annotated[kinds.PlainMapping, kinds.must(bool, "Name a key and its values.")],
        "values to try, by key of the experiment or dataset: a list, {choices: [...]}, a range {low, "
        "high, log}, or a single value; write lists of lists for values that are lists",
        REQUIRED,
    ),
    "sampler": parameter(
        Annotated[str, kinds.OneOf(SAMPLERS)], "how trials are chosen: all, at random, by TPE", GRID
    ),
    "sampler_seed": parameter(kinds.Seed, "seed of the sampler", 0),
    "trials": parameter(kinds.Count | None, "number of trials; leave it out for a grid", None),
    "budget_minutes": parameter(
        kinds.PositiveNumber | None, "no trial starts after so many minutes of tuning in all", None
    ),
    "objectives": parameter(
        kinds.Several[kinds.Text] | None,
        "validation metrics to optimise, such as [click_AUC, buy_AUC]; by default the monitor",
        None,
    ),
    "pruning": parameter(
        bool, "end a trial early if its monitor is worse than the median of the others", False
    ),
}
BEST = "best"
# More is a slip of the finger; to check them takes half a minute.
_MOST_VARIANTS = 5_000


@dataclass(frozen=True)
class Variant:
    """A trial as FuxiCTR's config files hold it."""

    expid: str
    experiment: dict[str, Any]
    dataset_id: str
    dataset: dict[str, Any]


@dataclass(frozen=True)
class Tuner:
    """A checked tuner file."""

    file: Path
    base_expid: str
    experiment: Section  # `Base` included
    dataset_id: str
    dataset: Section
    search: Search
    budget_minutes: float | None
    pruning: bool
    # Whether each objective is best at its ``max`` or ``min``; none: the monitor.
    modes: dict[str, str]
    params: dict[str, Any]  # the checked parameters of the experiment as it is

    @property
    def folder(self) -> Path:
        """The folder of all that the tuner writes, as FuxiCTR names it."""
        return self.file.with_name(self.file.name.replace(".yaml", ""))

    def base_settings(self) -> dict[str, Any]:
        """Return the experiment's settings of the searched keys; a key's only value, where it has one."""
        settings = {**self.dataset.settings, **self.experiment.settings}
        return {
            name: values.values[0] if _is_single(values) else settings[name]
            for name, values in self.search.space.items()
        }

    def variant(self, settings: Mapping[str, Any], name: str) -> Variant:
        """Return the experiment with settings of a trial; ``name`` ends its id, before a digest.

        Two that differ in anything have different digests; FuxiCTR's are over sorted characters.
        """
        dataset = {**self.dataset.settings, "dataset_id": self.dataset_id}
        dataset |= {key: value for key, value in settings.items() if key in dataset}
        dataset_id = f"{self.dataset_id}_{_digits(dataset)}"
        experiment = dict(self.experiment.settings)
        experiment |= {key: value for key, value in settings.items() if key in experiment}
        experiment["dataset_id"] = dataset_id
        ending = name if name == BEST else f"{name}_{_digits(experiment)}"
        return Variant(f"{self.base_expid}_{ending}", experiment, dataset_id, dataset)

    def load(self, variant: Variant) -> dict[str, Any]:
        """Return a variant's checked parameters.

        Raises:
            ConfigError: With all its problems at once.
        """
        section = Section(self.file, variant.expid, variant.experiment)
        dataset = Section(self.file, variant.dataset_id, variant.dataset)
        return settle_experiment(section, None, lambda _: (dataset, []))


def _is_single(values: Choices | Range) -> TypeGuard[Choices]:
    return isinstance(values, Choices) and len(values.values) == 1


def _digits(settings: Mapping[str, Any]) -> str:
    return digest(as_json(settings))[:8]


def load_tuner(path: Path) -> Tuner:
    """Read and check a tuner file, with every value that it may try; all problems come at once.

    Raises:
        ConfigError: With the problems, or if a package is not installed.
    """
    if path.suffix != ".yaml":
        raise ConfigError(
            f"{path}: the name must end in .yaml: the output folder has the same name without it."
        )
    problems = Problems(lambda key: f"{path.name}, {key}")
    subject = f"Tuner {path}"
    values = read_keys(TUNER, read_mapping(path), problems)
    problems.raise_any(subject)
    check_sampler(values["sampler"])
    experiment, dataset = _sections(path, values)
    base_expid = values["base_expid"]
    dataset_id = values["dataset_id"] or experiment.settings["dataset_id"]
    if experiment.settings["dataset_id"] == "TBD":
        base_expid = f"{experiment.settings.get('model')}_{dataset_id}"
    check_id("base_expid", base_expid)
    sampler = values["sampler"]
    problems.add_all(_key_problems(values["tuner_space"], experiment, dataset))
    in_order = _in_order(values["tuner_space"], experiment, dataset)
    space = read_space(in_order, sampler, "tuner_space", problems)
    problems.raise_any(subject)
    several = [key for key, values in space.items() if not _is_single(values)]
    problems.add_all(key_problems("tuner_space", several, "Give it one value."))
    search = Search(space, sampler, values["trials"], values["sampler_seed"])
    problems.add_all(budget_problems("tuner_space", search, _MOST_VARIANTS))
    problems.raise_any(subject)
    tuner = Tuner(
        file=path,
        base_expid=base_expid,
        experiment=experiment,
        dataset_id=dataset_id,
        dataset=dataset,
        search=search,
        budget_minutes=values["budget_minutes"],
        pruning=values["pruning"],
        modes={},
        params={},
    )
    first = [] if sampler == GRID else [tuner.base_settings()]
    params: dict[str, Any] = {}
    for number, point in enumerate([*first, *points_to_check(search)], 1):
        try:
            checked = tuner.load(tuner.variant(point, f"{number:03d}"))
            params = params or checked
            problems.add_all(_same_tasks(params, checked, point))
        except ConfigError as error:
            problems.add_error("tuner_space", error)
        if problems:
            break
    modes = _modes(values["objectives"] or [], params, problems) if params else {}
    problems.raise_any(subject)
    return replace(tuner, modes=modes, params=params)


def _sections(path: Path, values: Mapping[str, Any]) -> tuple[Section, Section]:
    """Return the experiment, `Base` included, and the dataset, from the tuner file or the base's folder."""
    folder = Path(values["base_config"] or path.parent)
    expid = values["base_expid"]
    if values["model_config"] is not None:
        inline = [Section(path, name, value) for name, value in values["model_config"].items()]
        section, base = find_section(inline, "base_expid", expid, path), None
    else:
        sections = all_sections(folder, "model_config")
        section = find_section(sections, "base_expid", expid, folder)
        base = find_base(sections, section)
    settings = {**(base.settings if base else {}), **section.settings}
    # FuxiCTR's id of the experiment; a variant has its own.
    settings.pop("model_id", None)
    dataset_id = values["dataset_id"] or settings.get("dataset_id")
    if not isinstance(dataset_id, str):
        raise ConfigError(
            f"{section.place('dataset_id')}: is missing. Add it, or dataset_id to {path}."
        )
    if values["dataset_config"] is not None:
        inline = [Section(path, name, value) for name, value in values["dataset_config"].items()]
        dataset = find_section(inline, "dataset_id", dataset_id, path)
    else:
        dataset, _ = find_dataset(folder, dataset_id)
    settings.setdefault("dataset_id", dataset_id)
    return Section(section.file, section.name, settings), dataset


def _key_problems(
    space: Mapping[Any, Any], experiment: Section, dataset: Section
) -> Iterator[Problem]:
    """Yield keys that the base config lacks, or that name what a trial is."""
    keys = [*experiment.settings, *dataset.settings]
    for key in space:
        place = f"tuner_space.{key}"
        if key in ("dataset_id", "model_id"):
            yield Problem(place, "is set by the tuner.", "Leave it out.")
        elif key not in keys:
            hint = suggest(key, keys) if isinstance(key, str) else ""
            text = f"is not in the base config ({experiment.name}, {dataset.name})."
            yield Problem(
                place, text, hint or "Add it there with the value it has without a search."
            )


def _in_order(space: Mapping[str, Any], experiment: Section, dataset: Section) -> dict[str, Any]:
    """Return the space in FuxiCTR's order of the grid: the experiment's keys, then the dataset's."""
    keys = dict.fromkeys([*experiment.settings, *dataset.settings])
    return {key: space[key] for key in keys if key in space}


def _same_tasks(
    params: Mapping[str, Any], tried: Mapping[str, Any], point: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield that a trial is measured otherwise than the first."""
    for key in COMPARED_BY:
        if tried.get(key) != params.get(key):
            text = f"{short(point)} changes {key}, which must be the same in all trials."
            yield Problem("tuner_space", text)


def _modes(objectives: list[str], params: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """Return whether each objective is best at its ``max`` or ``min``."""
    tasks = task_types(params)
    results = produced_metrics(tasks, params["metrics"])
    modes = {}
    for name in objectives:
        higher = higher_is_better(name, tasks) if name in results else None
        if name not in results:
            hint = suggest(name, results) or f"There are: {', '.join(results)}."
            problems.add("objectives", f"no run has the result {short(name)}.", hint)
        elif higher is None:
            problems.add("objectives", f"{name}: neither higher nor lower is better.")
        modes[name] = "max" if higher else "min"
    return modes
