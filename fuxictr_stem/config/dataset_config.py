"""A dataset's part of the config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fuxictr_stem.config import schema
from fuxictr_stem.config.column_words import QUOTE
from fuxictr_stem.config.columns import read_columns
from fuxictr_stem.config.groups import group_column
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner, read_keys, read_value
from fuxictr_stem.config.value_types import CountOrZero, PlainValue, Share
from fuxictr_stem.config.yaml_files import Section, all_sections, check_id, find_section, ids
from fuxictr_stem.errors import Problem, short, suggest

_ELSEWHERE = dict.fromkeys(
    schema.Experiment.model_fields, "It belongs to the experiment, in model_config."
)
_NO_OPS = ("dataset_id", "rebuild_dataset", "data_block_size")
# The facts that a preparation compares with its own figures; all others are for people.
_COMPARED: dict[str, tuple[Any, str]] = {
    "rows": (
        CountOrZero | Annotated[str, Field(title="text such as 10.9M")] | None,
        "{raw: 1000, train: 800}",
    ),
    "positive_rate": (Share | None, "{click: 0.2}"),
}


def load_dataset(config_dir: str | Path, dataset_id: str) -> dict[str, Any]:
    """Read, check and normalise a dataset's config.

    Args:
        config_dir: Folder that holds ``dataset_config``.
        dataset_id: The dataset.

    Returns:
        The settings with ``dataset_id``; ``feature_cols`` and ``label_col`` are lists of a dict per
        column, ``group_id`` is a meta column or absent.

    Raises:
        ConfigError: If a file or the dataset is absent, or with all problems of the dataset at once.
    """
    section, dataset_ids = find_dataset(config_dir, dataset_id)
    problems = Problems()
    dataset = read_dataset(section, dataset_ids, problems)
    if dataset.get("group_id") is not None:
        add_groups(dataset, dataset["group_id"], section.place("group_id"), problems)
    problems.raise_any(f"Dataset {dataset_id!r}")
    return dataset


def find_dataset(config_dir: str | Path, dataset_id: object) -> tuple[Section, list[str]]:
    """Return a dataset's section, and the ids of all datasets."""
    name = check_id("dataset_id", dataset_id)
    sections = all_sections(config_dir, "dataset_config")
    return find_section(sections, "dataset_id", name, config_dir), ids(sections)


def read_dataset(section: Section, dataset_ids: list[str], problems: Problems) -> dict[str, Any]:
    """Return a dataset's settings that are right, normalised; ``group_id`` stays as it is."""
    settings = section.settings
    values = read_keys(schema.Dataset.model_fields, settings, section.place, problems, _ELSEWHERE)
    features, labels = (values.pop(key, None) for key in ("feature_cols", "label_col"))
    if {"feature_cols", "label_col"} <= settings.keys():
        at = f"{section.file}, {section.name}"
        values |= read_columns(features, labels, values.get("data_format"), at, problems)
    if values.get("prepare") is not None:
        values["prepare"] = _read_prepare(values["prepare"], section, dataset_ids, problems)
        _check_source(values.get("source") or {}, section.place("source"), problems)
    problems.add_all(_dialect_problems(values), section.place)
    nullable = ("test_data", "group_id", "csv_quote")
    kept = {
        k: v for k, v in values.items() if k not in _NO_OPS and (v is not None or k in nullable)
    }
    return {"dataset_id": section.name, **kept}


def add_groups(dataset: dict[str, Any], group_id: str, place: str, problems: Problems) -> None:
    """Set the ``group_id`` of what `read_dataset` returns to a meta column; see `group_column`."""
    if {"feature_cols", "label_col"} <= dataset.keys():
        dataset["group_id"], dataset["feature_cols"] = group_column(
            group_id, dataset["feature_cols"], dataset["label_col"], place, problems
        )


def _dialect_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield special characters of CSV files that are the same, or are set for parquet."""
    if values.get("data_format") == "parquet":
        for key in {"csv_quote", "csv_escape", "null_values"} & values.keys():
            yield Problem(key, "is for CSV files, not for parquet.", "Leave it out.")
        return
    special = {"csv_quote": QUOTE, **values}
    for key, other in combinations(("csv_escape", "csv_quote", "sep"), 2):
        if special.get(key) is not None and special[key] == special.get(other):
            text = f"must differ from {other}, found {special[key]!r} for both."
            yield Problem(key, text)


def _check_source(source: Mapping[Any, Any], place: str, problems: Problems) -> None:
    """Note facts of the source that a preparation could not compare with."""
    for key, (kind, example) in _COMPARED.items():
        facts, at = source.get(key), f"{place}.{key}"
        if isinstance(facts, dict):
            for name, value in facts.items():
                read_value(kind, value, f"{at}.{short(name).strip(chr(39))}", problems)
        elif facts is not None:
            text = f"must be a mapping, found {short(facts)}."
            problems.add(at, text, f"Write {key}: {example}.")


def _read_prepare(
    prepare: Any, section: Section, dataset_ids: list[str], problems: Problems
) -> dict[str, Any]:
    at = section.place("prepare")
    values = read_inner(schema.Prepare.model_fields, prepare, at, problems, others=PlainValue)
    stand_in = values.get("stand_in")
    others = [name for name in dataset_ids if name != section.name]
    if stand_in is not None and stand_in not in others:
        text = f"must be another dataset of this folder, found {short(stand_in)}."
        problems.add(f"{at}.stand_in", text, suggest(stand_in, others))
    return values
