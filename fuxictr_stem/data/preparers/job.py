"""What a preparer is, and what one dataset config asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_stem.config.column_words import labels_of_files
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner
from fuxictr_stem.config.schema import Prepare
from fuxictr_stem.data.preparers.splits import SPLITS, Blocks
from fuxictr_stem.errors import ConfigError, DataError, Problem, raise_all, short, suggest


class RawFilesMissing(DataError):
    """The official files are not there; the message says which, where, and how to get them."""


@dataclass(frozen=True)
class Preparer:
    """One data set's way from official raw files to rows of splits."""

    name: str
    version: int  # goes up when the same raw files and options give other rows
    find_raw: Callable[[Path, Mapping[str, Any]], list[Path]]  # (raw_dir, options); cheap
    read: Callable[[list[Path], Path, Mapping[str, Any]], Blocks]  # (files, raw_dir, options)
    options: type[Prepare] = Prepare  # the keys of ``prepare``, its own among them
    permissions: frozenset[str] = frozenset()  # options that do not decide what the rows are
    # Problems, by place, of options that are right one by one.
    problems: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda options: {}


@dataclass(frozen=True)
class Job:
    """What one dataset config asks for; the files of all splits are in one folder."""

    dataset_id: str
    preparer: Preparer
    options: dict[str, Any]
    raw_dir: Path
    paths: dict[str, Path]
    labels: list[str]
    source: dict[str, Any]
    file_locks: bool

    @property
    def folder(self) -> Path:
        """The folder of the split files."""
        return self.paths["train"].parent


def read_job(dataset: Mapping[str, Any], preparers: Mapping[str, Preparer]) -> Job:
    """Read a dataset config; all problems of its preparer, paths and options are one ConfigError."""
    prepare, problems = dataset.get("prepare"), Problems()
    heading = f"dataset {dataset.get('dataset_id')!r}"
    if not isinstance(prepare, dict):
        rule = "no `prepare` mapping that says how its split files are made"
        raise ConfigError(f"{heading} has {rule}: found {prepare!r}.")
    name = prepare.get("preparer")
    if not isinstance(name, str) or name not in preparers:
        rule = f"must be one of {', '.join(preparers)}, found {short(name)}."
        raise ConfigError(f"{heading}, prepare.preparer: {rule}{suggest(str(name), preparers)}")
    preparer = preparers[name]
    keys = preparer.options.model_fields
    values = read_inner(keys, prepare, "prepare", problems)
    option_keys = [key for key in keys if key not in Prepare.model_fields]
    options = {key: values[key] for key in option_keys if key in values}
    if len(options) == len(option_keys):
        for place, problem in preparer.problems(options).items():
            problems.add(place, problem)
    paths = {split: Path(str(dataset.get(f"{split}_data") or "")) for split in SPLITS}
    problems.add_all(_path_problems(dataset, paths))
    raise_all(ConfigError, f"{heading}, preparer {name}", problems.lines)
    labels = dataset.get("label_col", [])
    labels = labels_of_files(labels if isinstance(labels, list) else [labels])
    return Job(
        dataset_id=str(dataset.get("dataset_id", name)),
        preparer=preparer,
        options=options,
        raw_dir=Path(values["raw_dir"]),
        paths=paths,
        labels=[label["name"] for label in labels],
        source=dataset.get("source") or {},
        file_locks=dataset.get("file_locks", True),
    )


def _path_problems(dataset: Mapping[str, Any], paths: Mapping[str, Path]) -> Iterator[Problem]:
    """Yield why a preparer cannot write to a dataset's split files."""
    otherwise = "Or remove `prepare` to use files of your own."
    if dataset.get("data_format") != "parquet":
        text = f"preparers write parquet, found {short(dataset.get('data_format', 'csv'))}."
        yield Problem("data_format", text, f"Write data_format: parquet. {otherwise}")
    for split, path in paths.items():
        if path.suffix != ".parquet":
            text = f"must be one .parquet file, found {short(dataset.get(f'{split}_data'))}."
            yield Problem(f"{split}_data", text, otherwise)
    if len({path.parent for path in paths.values()}) > 1 or len(set(paths.values())) < len(paths):
        text = f"must be three files in one folder, found {', '.join(map(str, paths.values()))}."
        yield Problem("train_data, valid_data, test_data", text)
