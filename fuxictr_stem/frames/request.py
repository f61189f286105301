"""What a call of `fit` asks for, and the configs that say the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from fuxictr_stem.config.experiment_config import load_experiment
from fuxictr_stem.config.model_parameters import find_model
from fuxictr_stem.config.problems import ProblemsError
from fuxictr_stem.config.yaml_files import check_id
from fuxictr_stem.errors import ConfigError, short
from fuxictr_stem.frames import config_files, training_rows
from fuxictr_stem.frames.guess_columns import (
    Guesses,
    absent,
    as_mapping,
    column_summary,
    guess_columns,
    origin,
)
from fuxictr_stem.frames.python_words import argument_at, check_arguments, in_python_words
from fuxictr_stem.frames.training_rows import Splits


@dataclass
class Request:
    """The arguments of a call, which `check` brings into one form, and what has become of its rows."""

    rows: dict[str, Any]  # by split
    labels: Any  # a mapping after `check`
    features: Any  # a mapping, or None for all columns, after `check`
    model: str
    out: Any  # a whole path after `check`
    expid: Any  # there is one after `check`
    group_id: str | None
    ignore: Any  # a mapping after `check`
    gpu: Any
    init_from: Any  # a whole path, or None, after `check`
    settings: dict[str, Any]  # all other arguments
    paths: dict[str, str] = field(default_factory=dict)  # of the rows, by their paths the splits
    guesses: Guesses = Guesses([], [], [])  # the columns

    @property
    def dataset_id(self) -> str:
        """The dataset's id, after the folder."""
        return config_files.as_id(self.out.name) or "data"

    @property
    def run_folder(self) -> Path:
        """Where the run will be."""
        return self.out / "checkpoints" / self.dataset_id / self.expid

    def check(self) -> None:
        """Check what needs no look at the rows.

        Raises:
            ConfigError: With all that is wrong.
        """
        check_arguments(self._problems())
        self.labels, self.ignore = as_mapping(self.labels), as_mapping(self.ignore)
        self.features = None if self.features is None else as_mapping(self.features)
        self.out = Path(self.out).expanduser().absolute()
        if self.init_from is not None:
            self.init_from = Path(self.init_from).expanduser().absolute()
        self.expid = self.expid or f"{self.model}_{self.dataset_id}"

    def _problems(self) -> Iterator[str]:
        yield from training_rows.kind_problems(self.rows)
        yield from config_files.settings_problems(self.settings)
        for argument in ("labels", "features", "ignore"):
            value = getattr(self, argument)
            if value is None and argument == "features":
                continue
            try:
                columns = as_mapping(value)
            except TypeError:
                yield f"{argument}: must be names of columns, found {short(value)}."
                continue
            wrong = [short(name) for name in columns if not isinstance(name, str)]
            if wrong:
                yield f"{argument}: the names of columns are text, found {', '.join(wrong)}."
            if not columns and argument != "ignore":
                yield f"{argument}: must name at least one column."
            if argument == "ignore" and columns and self.features is not None:
                yield "ignore: is for features=None; here features says which columns they are."
        for argument in ("out", "init_from"):
            value = getattr(self, argument)
            if not (training_rows.is_path(value) or (argument == "init_from" and value is None)):
                yield f"{argument}: must be the path of a folder, found {short(value)}."
        if not isinstance(self.gpu, int):
            yield f"gpu: must be the number of a CUDA device, or -1 for the CPU, found {self.gpu!r}."
        if not (self.group_id is None or isinstance(self.group_id, str)):
            yield f"group_id: must be the name of a column, found {short(self.group_id)}."
        for check in (lambda: find_model(self.model), lambda: check_id("expid", self.expid or "a")):
            try:
                check()
            except ConfigError as error:
                yield str(error)

    def write_config(self, folder: Path) -> dict[str, Any]:
        """Write rows into ``out/data`` and configs into a folder; return the checked parameters.

        Raises:
            UserError: The rows or the settings are not as they must be.
        """
        splits, features, labels = self._columns()
        rows = splits.count("train")
        if not rows:
            check_arguments(["train: has no rows."])
        self.paths |= {path: split for split, path in splits.paths.items()}
        self.guesses = guess_columns(splits, features, labels, self.group_id)
        experiment = config_files.experiment_keys(
            self.model,
            self.dataset_id,
            self.out / "checkpoints",
            list(self.labels),
            self.settings,
            rows,
            self.group_id is not None,
        )
        dataset = config_files.dataset_keys(
            self.out / "cache", splits.data_format, splits.paths, self.group_id, self.settings
        )
        start = "" if self.init_from is None else f" --init-from {quote(str(self.init_from))}"
        config = f"{quote(str(self.out / 'config'))} --expid {self.expid}{start}"
        head = [
            f"{config_files.MARK}, which overwrites it when it is called again.",
            "# The same run from a shell, to the last digit:",
            f"#     python -m fuxictr_stem run --config {config}",
            "# Every key, with its meaning and default: python -m fuxictr_stem keys",
        ]
        models, datasets = (folder / name for name in config_files.CONFIGS)
        config_files.write_experiments(models, head, {self.expid: experiment})
        config_files.write_dataset(datasets, head, self.dataset_id, dataset, self.guesses)
        return self._checked(folder)

    def _columns(self) -> tuple[Splits, dict[str, Any], dict[str, Any]]:
        """Return the rows as files, and the features and labels by name."""
        labels = dict(self.labels)
        weight = self.settings.get("sample_weight")
        if isinstance(weight, str):
            labels.setdefault(weight, None)
        from_files = training_rows.is_path(self.rows["train"])
        if from_files:
            splits = training_rows.of_files(self.rows, self.settings)
        frames = splits.frames if from_files else self.rows
        names = {split: training_rows.column_names(split, frame) for split, frame in frames.items()}
        features = self.features
        if features is None:
            texts = absent(self.ignore, {"train": names["train"]})
            check_arguments(f"ignore: {text}" for text in texts)
            taken = {*labels, *self.ignore, self.group_id}
            features = dict.fromkeys(name for name in names["train"] if name not in taken)
        if not features:
            check_arguments(["features: no column is left to learn from."])
        every = {**features, **labels, **({self.group_id: None} if self.group_id else {})}
        origins = [origin(name, wish) for name, wish in every.items()]
        needed = dict.fromkeys(filter(None, origins))
        check_arguments(absent(needed, names))
        if not from_files:
            # A function may read any column.
            more = names["train"] if None in origins else self.settings.get("prediction_columns")
            splits = training_rows.write(self.rows, {*needed, *(more or ())}, self.out / "data")
        return splits, features, labels

    def _checked(self, folder: Path) -> dict[str, Any]:
        """Return the parameters of the configs in a folder, or raise all that is wrong with the call."""
        problems = list(self.guesses.problems)
        try:
            params = load_experiment(folder, self.expid)
        except ProblemsError as error:
            for place, text in error.entries:
                # Of columns that could not be guessed the config says nothing.
                if not self.guesses.problems or "model_config.yaml" in place:
                    problems.append(f"{argument_at(place)}: {in_python_words(text)}")
        check_arguments(dict.fromkeys(problems))
        return params

    def summary(self) -> str:
        """Return what the columns were taken for, and where that can be changed."""
        lines = [f"Columns, as written to {self.out / 'config' / 'dataset_config.yaml'}"]
        lines += column_summary(self.guesses)
        return "\n".join(lines)
