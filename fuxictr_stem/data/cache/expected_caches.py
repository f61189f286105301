"""Which caches a config folder asks for now."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from fuxictr_stem.config.dataset_config import add_groups, load_dataset
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.yaml_files import all_sections, ids
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import ConfigError, UserError

logger = logging.getLogger(__name__)


class Expected(NamedTuple):
    """What the datasets of a config folder ask for."""

    roots: list[Path]  # their ``data_root`` folders
    # By dataset: the names of the caches that runs would open now, or why that is unknown.
    names: dict[str, set[str] | str]


def expected_caches(config_dir: Path) -> Expected:
    """Return the caches that runs of a config folder would open now.

    Raises:
        ConfigError: A config file cannot be read; what is wrong with one dataset is its reason.
    """
    groups = _groups_of_experiments(config_dir)
    expected = Expected([], {})
    for dataset_id in ids(all_sections(config_dir, "dataset_config")):
        try:
            with _only_warnings("fuxictr_stem.config"):
                datasets = list(_grouped(load_dataset(config_dir, dataset_id), groups))
            expected.roots.append(Path(datasets[0]["data_root"]))
            files = find_files(datasets[0])
            expected.names[dataset_id] = {fingerprint(dataset, files) for dataset in datasets}
        except (UserError, OSError) as error:
            if isinstance(error, ConfigError):
                logger.warning("%s", error)
            expected.names[dataset_id] = str(error)
    return expected


@contextmanager
def _only_warnings(name: str) -> Iterator[None]:
    """Keep what loading a config tells a run from a table of caches."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def _groups_of_experiments(config_dir: Path) -> list[str]:
    """Return every ``group_id`` of an experiment; any experiment may run on any dataset."""
    sections = all_sections(config_dir, "model_config")
    groups = [s.settings.get("group_id") for s in sections if isinstance(s.settings, dict)]
    return sorted({group for group in groups if isinstance(group, str)})


def _grouped(dataset: dict[str, Any], groups: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a dataset as runs use it: where it leaves ``group_id`` to experiments, once for each."""
    yield dataset
    if "group_id" not in dataset:
        for group in groups:
            with_group, problems = deepcopy(dataset), Problems()
            add_groups(with_group, group, problems)
            if not problems.lines:
                yield with_group
