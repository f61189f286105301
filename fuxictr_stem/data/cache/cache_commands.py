"""``fuxictr_stem cache``: list, verify and clear the caches, in words and tables for people."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

from fuxictr_stem.config.dataset_config import add_groups, load_dataset
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.yaml_files import all_sections, ids
from fuxictr_stem.data.cache import inventory
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.cache.inventory import USELESS, FoundCache, State
from fuxictr_stem.data.source.files import SPLITS, find_files
from fuxictr_stem.errors import ConfigError, DataError, OutputError, UserError, suggest
from fuxictr_stem.runtime.logs import tell
from fuxictr_stem.runtime.text_table import amount, format_bytes, text_table

logger = logging.getLogger(__name__)

_HEAD = ["dataset", "cache", *SPLITS, "size", "made", "state"]


def find_caches(
    config_dir: Path, data_root: Path | None, dataset_id: str | None
) -> list[FoundCache]:
    """Return the caches, and what the configs say of them: whether runs would open them now.

    Without ``data_root``, they are those in the folders that the datasets name; without ``dataset_id``,
    those of all datasets.

    Raises:
        UserError: A folder or the config cannot be read, or there is no such dataset.
    """
    if data_root is not None and not os.path.isdir(data_root):
        raise DataError(f"--data-root {data_root}: there is no such folder.")
    roots, expected = _expected(config_dir)
    caches = list(inventory.find(roots if data_root is None else [data_root], expected))
    if dataset_id is None:
        return caches
    there = {*expected, *(cache.dataset_id for cache in caches)}
    if dataset_id not in there:
        raise DataError(
            f"--dataset {dataset_id}: neither the config nor the folder of the caches has it."
            f"{suggest(dataset_id, there)}"
        )
    return [cache for cache in caches if cache.dataset_id == dataset_id]


def list_caches(caches: Sequence[FoundCache], reasons: bool = True) -> int:
    """Print a table for each folder, and below it why a cache is not as it should be; return 0."""
    if not caches:
        tell("There is no cache.")
    for root in dict.fromkeys(cache.folder.parent.parent for cache in caches):
        inside = [cache for cache in caches if cache.folder.parent.parent == root]
        size = format_bytes(sum(cache.size for cache in inside))
        tell(f"{root}: {size}", "", text_table([_HEAD, *map(_cells, inside)], left=2))
        whys = [f"{cache.folder.name}: {cache.why}" for cache in inside if cache.why]
        if whys and reasons:
            tell("", *whys)
    return 0


def verify_caches(caches: Sequence[FoundCache]) -> int:
    """Read every byte of caches and name each damaged file.

    Returns:
        1 if something is damaged or cannot be read, else 0.
    """
    verified, damages = [], []
    for cache in caches:
        cache, texts = inventory.verify(cache)
        verified.append(cache)
        damages += texts
    list_caches(verified, reasons=False)
    unread = [cache.why for cache in verified if cache.state is State.UNREADABLE]
    if unread:
        tell("\nNot checked:", *(f"  {why}" for why in unread))
    if damages:
        tell("\nDamaged:", *(f"  {text}" for text in damages))
        tell("`fuxictr_stem cache clear` removes damaged caches; the next run rebuilds them.")
    else:
        tell("\nNothing else is damaged." if unread else "\nNothing is damaged.")
    return int(bool(unread or damages))


def clear_caches(caches: Sequence[FoundCache], everything: bool, dry_run: bool) -> int:
    """Remove caches that no run reads again, and report them.

    With ``everything``, whole caches go, too; with ``dry_run``, none goes. Returns 1 if one could not be
    removed, else 0.
    """
    count = freed = failed = 0
    verb = "would remove" if dry_run else "removed"
    for cache in caches:
        in_use = cache.state is State.BUILDING
        if not (in_use or everything or cache.state in USELESS):
            cache, _ = inventory.verify(cache)
            if cache.state not in USELESS:
                continue
        try:
            size = None if in_use else inventory.clear(cache, dry_run)
        except OutputError as error:
            tell(f"kept {cache.folder}: {error}")
            failed += 1
            continue
        if size is None:
            tell(f"kept {cache.folder}: a run is using it, or has just rebuilt it")
            continue
        count, freed = count + 1, freed + size
        tell(f"{verb} {cache.folder} ({cache.state.value}, {format_bytes(size)})")
    tell(f"{verb.capitalize()} {amount(count, 'cache')}, {freed:,} bytes.")
    return int(failed > 0)


def _cells(cache: FoundCache) -> list[str]:
    rows = [f"{cache.rows[split]:,}" if split in cache.rows else "" for split in SPLITS]
    made = f"{datetime.fromtimestamp(cache.changed):%Y-%m-%d %H:%M}"
    size, state = format_bytes(cache.size), cache.state.value
    return [cache.dataset_id, cache.folder.name, *rows, size, made, state]


def _expected(config_dir: Path) -> tuple[list[Path], dict[str, set[str] | str]]:
    """Return the ``data_root`` folders of datasets, and the names of the caches that runs would open now.

    The names are by dataset; in their place is why they are unknown, such as what is wrong with its config.
    """
    sections = all_sections(config_dir, "model_config")
    of_experiments = [s.settings.get("group_id") for s in sections if isinstance(s.settings, dict)]
    # Any experiment may run on any dataset.
    groups = sorted({group for group in of_experiments if isinstance(group, str)})
    roots: list[Path] = []
    names: dict[str, set[str] | str] = {}
    for dataset_id in ids(all_sections(config_dir, "dataset_config")):
        try:
            datasets = list(_grouped(load_dataset(config_dir, dataset_id), groups))
            roots.append(Path(datasets[0]["data_root"]))
            files = find_files(datasets[0])
            names[dataset_id] = {fingerprint(dataset, files) for dataset in datasets}
        except (UserError, OSError) as error:
            if isinstance(error, ConfigError):
                logger.warning("%s", error)
            names[dataset_id] = str(error)
    return roots, names


def _grouped(dataset: dict[str, Any], groups: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a dataset as runs use it: where it leaves ``group_id`` to experiments, once for each."""
    yield dataset
    if "group_id" not in dataset:
        for group in groups:
            with_group, problems = deepcopy(dataset), Problems()
            add_groups(with_group, group, problems)
            if not problems.lines:
                yield with_group
