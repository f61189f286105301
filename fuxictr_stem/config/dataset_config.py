"""A dataset's part of the config."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fuxictr_stem.config import column_words as words
from fuxictr_stem.config import schema
from fuxictr_stem.config.columns import Columns, read_columns
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_inner, read_keys, read_value
from fuxictr_stem.config.value_types import CountOrZero, PlainValue, Share
from fuxictr_stem.config.yaml_files import Section, all_sections, check_id, find_section, ids
from fuxictr_stem.errors import Problem, short, suggest

logger = logging.getLogger(__name__)

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

    Returns:
        The settings with ``dataset_id``; ``feature_cols`` and ``label_col`` are lists of a dict per
        column, ``group_id`` is a meta column or absent.

    Raises:
        ConfigError: If a file or the dataset is absent, or with all problems of the dataset at once.
    """
    section, dataset_ids = find_dataset(config_dir, dataset_id)
    problems = Problems(section.place)
    dataset = read_dataset(section, dataset_ids, problems)
    if dataset.get("group_id") is not None:
        add_groups(dataset, dataset["group_id"], problems)
    problems.raise_any(f"Dataset {dataset_id!r}")
    return dataset


def find_dataset(config_dir: str | Path, dataset_id: object) -> tuple[Section, list[str]]:
    """Return a dataset's section, and the ids of all datasets."""
    name = check_id("dataset_id", dataset_id)
    sections = all_sections(config_dir, "dataset_config")
    return find_section(sections, "dataset_id", name, config_dir), ids(sections)


def read_dataset(section: Section, dataset_ids: list[str], problems: Problems) -> dict[str, Any]:
    """Return a dataset's settings that are right, normalised; ``group_id`` stays as it is."""
    settings, problems = section.settings, problems.at(section.place)
    values = read_keys(schema.Dataset.model_fields, settings, problems, _ELSEWHERE)
    features, labels = (values.pop(key, None) for key in ("feature_cols", "label_col"))
    if {"feature_cols", "label_col"} <= settings.keys():
        values |= read_columns(features, labels, values.get("data_format"), problems)
    if values.get("prepare") is not None:
        others = [name for name in dataset_ids if name != section.name]
        values["prepare"] = _read_prepare(values["prepare"], others, problems)
        _check_source(values.get("source") or {}, problems)
    problems.add_all(_dialect_problems(values))
    nullable = ("test_data", "group_id", "csv_quote")
    kept = {
        k: v for k, v in values.items() if k not in _NO_OPS and (v is not None or k in nullable)
    }
    return {"dataset_id": section.name, **kept}


def add_groups(dataset: dict[str, Any], group_id: str, problems: Problems) -> None:
    """Set the ``group_id`` of what `read_dataset` returns to a meta column, which may be added to it.

    Rare values of a categorical feature share one index, which would merge their groups; a meta
    column keeps every value apart.
    """
    if not {"feature_cols", "label_col"} <= dataset.keys():
        return
    cols: Columns = dataset["feature_cols"]
    by_name = {col["name"]: col for col in cols}
    labels = [label["name"] for label in dataset["label_col"]]
    problem = _group_problem(group_id, by_name, labels)
    dataset["group_id"] = group_id
    if problem is not None:
        problems.add_all([problem])
        return
    col = by_name[group_id]
    if col["type"] == words.META:
        return
    metas = [c for c in cols if c["active"] and c["type"] == words.META]
    copies = [
        c["name"] for c in metas if words.copied_column(c.get("preprocess"), c["name"]) == group_id
    ]
    if copies:
        dataset["group_id"] = copies[0]
        return
    name = f"{group_id}_group"
    while name in by_name or name in labels:
        name += "_"
    logger.debug(
        "group_id: %s is a %s feature; its values are kept apart in the meta column %s.",
        *(group_id, col["type"], name),
    )
    meta = {"name": name, "active": True, "type": words.META, "dtype": col["dtype"]}
    meta |= {"preprocess": f"copy_from({group_id})"}
    if "fill_na" in col:
        meta["fill_na"] = col["fill_na"]
    # First, since FuxiCTR works from the last column to the first: the copy comes after what the
    # copied column does to itself.
    dataset["group_id"], dataset["feature_cols"] = name, [meta, *cols]


def _group_problem(
    name: str, by_name: Mapping[str, Mapping[str, Any]], labels: list[str]
) -> Problem | None:
    """Return why a column cannot group rows, if so."""
    key, col = "group_id", by_name.get(name)
    if col is None:
        label = ", which is a label" if name in labels else ""
        text = f"must name a column of feature_cols, found {name!r}{label}."
        return Problem(key, text, suggest(name, by_name) or "Add it there with type: meta.")
    if col["type"] == words.META:
        text = f"names the inactive column {name!r}."
        return None if col["active"] else Problem(key, text, "Set active: True.")
    if col["type"] in (words.SEQUENCE, words.EMBEDDING) or "(" in name or ")" in name:
        text = f"names {name!r}, a column of type {col['type']}, which cannot be copied as groups."
        return Problem(key, text, "Name a column with one id per row, best of type meta.")
    if words.function_call(col.get("preprocess"), name):
        text = f"names {name!r}, which is in no file: it is made by {col['preprocess']}."
        return Problem(key, text, "Name a column of the files.")
    return None


def _dialect_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield special characters of CSV files that are the same, or are set for parquet."""
    if values.get("data_format") == "parquet":
        for key in ("csv_quote", "csv_escape", "null_values"):
            if key in values:
                yield Problem(key, "is for CSV files, not for parquet.", "Leave it out.")
        return
    special = {"csv_quote": words.QUOTE, **values}
    for key, other in combinations(("csv_escape", "csv_quote", "sep"), 2):
        if special.get(key) is not None and special[key] == special.get(other):
            text = f"must differ from {other}, found {special[key]!r} for both."
            yield Problem(key, text)


def _check_source(source: Mapping[Any, Any], problems: Problems) -> None:
    """Note facts of the source that a preparation could not compare with."""
    for key, (kind, example) in _COMPARED.items():
        facts = source.get(key)
        if isinstance(facts, dict):
            for name, value in facts.items():
                read_value(kind, value, f"source.{key}.{short(name).strip(chr(39))}", problems)
        elif facts is not None:
            text = f"must be a mapping, found {short(facts)}."
            problems.add(f"source.{key}", text, f"Write {key}: {example}.")


def _read_prepare(prepare: Any, others: list[str], problems: Problems) -> dict[str, Any]:
    values = read_inner(schema.Prepare.model_fields, prepare, "prepare", problems, PlainValue)
    stand_in = values.get("stand_in")
    if stand_in is not None and stand_in not in others:
        text = f"must be another dataset of this folder, found {short(stand_in)}."
        problems.add("prepare.stand_in", text, suggest(stand_in, others))
    return values
