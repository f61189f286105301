"""A dataset's part of the config."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from fuxictr_stem.config.checking import Place, Problems, read_keys, read_value
from fuxictr_stem.config.columns import read_columns
from fuxictr_stem.config.groups import group_column
from fuxictr_stem.config.kinds import PLAIN, Kind, number, optional, whole
from fuxictr_stem.config.schema import ABSENT, DATASET, EXPERIMENT, PREPARE
from fuxictr_stem.config.values import QUOTE
from fuxictr_stem.config.yaml_files import Section, all_sections, check_id, find_section, ids
from fuxictr_stem.errors import short, suggest

_ELSEWHERE = dict.fromkeys(EXPERIMENT, "It belongs to the experiment, in model_config.")
_NO_OPS = ("dataset_id", "rebuild_dataset", "data_block_size")
_COUNT = whole(0)
# The facts that a preparation puts beside its own figures; all others are for people.
_COMPARED = {
    "rows": Kind(
        f"{_COUNT.rule}, or text such as 10.9M",
        lambda value: value if isinstance(value, str) else _COUNT.read(value),
    ),
    "positive_rate": number(0, below=1),
}


def load_dataset(config_dir: str | Path, dataset_id: str) -> dict[str, Any]:
    """Read, check and normalise a dataset's config.

    Args:
        config_dir: Folder that holds ``dataset_config``.
        dataset_id: The dataset.

    Returns:
        The settings with ``dataset_id``; ``feature_cols`` and ``label_col`` are lists of a dict a
        column, ``group_id`` is a meta column or absent.

    Raises:
        ConfigError: If a file or the dataset is absent, or with all problems of the dataset at once.
    """
    section, known = find_dataset(config_dir, dataset_id)
    problems = Problems()
    dataset = read_dataset(section, known, problems)
    if dataset.get("group_id") is not None:
        add_groups(dataset, dataset["group_id"], section.place("group_id"), problems)
    problems.raise_any(f"Dataset {dataset_id!r}")
    return dataset


def find_dataset(config_dir: str | Path, dataset_id: object) -> tuple[Section, list[str]]:
    """Return where a dataset stands, and the ids of all datasets.

    Raises:
        ConfigError: If a file cannot be read or the dataset is not there.
    """
    name = check_id("dataset_id", dataset_id)
    sections = all_sections(config_dir, "dataset_config")
    return find_section(sections, "dataset_id", name, config_dir), ids(sections)


def read_dataset(section: Section, known: list[str], problems: Problems) -> dict[str, Any]:
    """Check and normalise a dataset's settings; ``group_id`` stays as it is.

    Args:
        section: The dataset's mapping.
        known: The ids of all datasets.
        problems: Takes what is wrong.

    Returns:
        The values that are right; ``feature_cols`` and ``label_col`` only as wholes.
    """
    settings = section.settings
    values = read_keys(DATASET, settings, section.place, problems, _ELSEWHERE)
    if "feature_cols" in settings and "label_col" in settings:
        read = read_columns(
            settings["feature_cols"],
            settings["label_col"],
            values.get("data_format"),
            f"{section.file}, {section.name}",
            problems,
        )
        values |= dict(zip(("feature_cols", "label_col"), read, strict=True))
    if values.get("prepare") is not None:
        values["prepare"] = _read_prepare(values["prepare"], section, known, problems)
        _check_source(values.get("source") or {}, section.place("source"), problems)
    _check_dialect(values, section.place, problems)
    nullable = ("test_data", "group_id", "csv_quote")
    kept = {
        k: v for k, v in values.items() if k not in _NO_OPS and (v is not None or k in nullable)
    }
    return {"dataset_id": section.name, **kept}


def add_groups(dataset: dict[str, Any], group_id: str, place: str, problems: Problems) -> None:
    """Set a dataset's ``group_id`` to a meta column, which `group_column` finds or adds.

    Args:
        dataset: The dataset, as `read_dataset` returns it.
        group_id: The column that the config names.
        place: Where the config does so.
        problems: Takes what is wrong.
    """
    if {"feature_cols", "label_col"} <= dataset.keys():
        dataset["group_id"], dataset["feature_cols"] = group_column(
            group_id, dataset["feature_cols"], dataset["label_col"], place, problems
        )


def _check_dialect(values: dict[str, Any], place: Place, problems: Problems) -> None:
    """Note special characters of CSV files that are the same, or are set for parquet."""
    if values.get("data_format") == "parquet":
        for key in ("csv_quote", "csv_escape", "null_values"):
            if key in values:
                problems.add(place(key), "is for CSV files, not for parquet.", "Leave it out.")
        return
    special = {"csv_quote": QUOTE, **values}
    for key, other in combinations(("csv_escape", "csv_quote", "sep"), 2):
        if special.get(key) is not None and special[key] == special.get(other):
            problems.add(place(key), f"must differ from {other}, found {special[key]!r} for both.")


def _check_source(source: dict[Any, Any], place: str, problems: Problems) -> None:
    """Note facts of the source that a preparation could not compare with."""
    for key, kind in _COMPARED.items():
        facts, at = source.get(key), f"{place}.{key}"
        if facts is None:
            continue
        if not isinstance(facts, dict):
            example = "{raw: 1000, train: 800}" if key == "rows" else "{click: 0.2}"
            problems.add(
                at, f"must be a mapping, found {short(facts)}.", f"Write {key}: {example}."
            )
            continue
        for name, value in facts.items():
            which = short(name).strip("'")
            read_value(optional(kind), value, f"{at}.{which}", problems)


def _read_prepare(
    prepare: dict[Any, Any], section: Section, known: list[str], problems: Problems
) -> dict[str, Any]:
    def place(key: object) -> str:
        return f"{section.place('prepare')}.{key}"

    values = read_keys(PREPARE, prepare, place, problems, allow_others=True)
    stand_in = values.get("stand_in")
    others = [name for name in known if name != section.name]
    if stand_in is not None and stand_in not in others:
        problems.add(
            place("stand_in"),
            f"must be another dataset of this folder, found {short(stand_in)}.",
            suggest(stand_in, others),
        )
    for key, value in prepare.items():
        if key not in PREPARE and read_value(PLAIN, value, place(key), problems) is not ABSENT:
            values[key] = value
    return values
