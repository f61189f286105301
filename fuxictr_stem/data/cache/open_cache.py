"""Open the cache of a dataset: the whole one that is there, or one that is built now."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fuxictr.features import FeatureMap

from fuxictr_stem.data.cache import h5_store as store
from fuxictr_stem.data.cache.build import build
from fuxictr_stem.data.cache.cache_folder import hold, lock_of, remove_leftovers, replace
from fuxictr_stem.data.cache.damage import Manifest, check
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import plan_columns
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import DataError, OutputError, UserError
from fuxictr_stem.runtime.group import ALONE, Group
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.outputs import check_writable, final_name
from fuxictr_stem.runtime.whole_folder import Damaged, fresh_folder

logger = logging.getLogger(__name__)

FEATURE_MAP = "feature_map.json"


class Cache(Manifest):
    """An encoded dataset on disk, which stays there as long as this object lives."""

    folder: Path  # where its files are

    def path(self, split: str) -> Path:
        """Return the h5 file of a split that the dataset has."""
        return self.folder / f"{split}.h5"

    def column(self, split: str, name: str) -> Array:
        """Read a whole column of a split.

        Raises:
            DataError: There is none, or the file is damaged.
        """
        with store.open_file(self.path(split)) as file:
            return store.read(store.column(file, name), 0, self.rows[split])

    def feature_map(self, params: Mapping[str, Any]) -> FeatureMap:
        """Return FuxiCTR's feature map for a run, as `load_feature_map` does."""
        return load_feature_map(self.dataset_id, self.folder, params)


def load_feature_map(dataset_id: str, folder: Path, params: Mapping[str, Any]) -> FeatureMap:
    """Load a folder's feature_map.json for a run with some checked parameters.

    As FuxiCTR's ``FeatureMap.load``, except that ``use_features`` keeps the ``group_id`` column and
    ``num_fields`` counts the features that are used.
    """
    group, used = params.get("group_id"), list(params.get("use_features") or [])
    if used and group and group not in used:
        used.append(group)
    feature_map = FeatureMap(dataset_id, str(folder))
    feature_map.load(str(folder / FEATURE_MAP), {**params, "use_features": used})
    feature_map.num_fields = feature_map.get_num_fields()
    return feature_map


def open_cache(dataset: Mapping[str, Any], group: Group = ALONE) -> Cache:
    """Open the cache of a dataset; build it if there is none, or none that is whole.

    The dataset config is checked and normalised; other keys of a run do not matter. Each process of a group
    that builds together calls this.

    Raises:
        ConfigError: A column is declared in a way that cannot be encoded.
        DataError: The source files are absent or not what the config declares.
        OutputError: ``data_root`` cannot be written.
        AccessError: The system does not let the cache's files be read, whatever they hold.
    """
    if group.is_first:
        cache = _open_or_build(dataset, group)
        group.from_first(lambda: None)
        return cache
    while folder := group.from_first(str):
        _help(dataset, Path(folder), group)
    return open_cache(dataset)


def _open_or_build(dataset: Mapping[str, Any], group: Group) -> Cache:
    home = Path(dataset["data_root"]) / dataset["dataset_id"]
    folder = home / fingerprint(dataset, find_files(dataset))
    cache = None
    try:
        cache = _open(folder)
    except Damaged as damage:
        logger.warning("The cache is damaged and is rebuilt: %s", damage)
    if cache is None:
        check_writable(home, "data_root")
        builder, required = "another run that builds this cache", dataset.get("file_locks", True)
        with locked(lock_of(folder), "data_root", builder, required):
            # Another run may have built it while this one waited.
            with suppress(Damaged):
                cache = _open(folder)
            if cache is None:
                cache = _rebuild(dataset, folder, group)
    rows = ", ".join(f"{split} {count:,}" for split, count in cache.rows.items())
    logger.debug("Cache %s: %s rows", folder, rows)
    return cache


def _open(folder: Path) -> Cache | None:
    """Return the cache in a folder, or None if there is none; raise `Damaged` if it is that."""
    # Path.is_dir raises where a name is too long.
    if not os.path.isdir(folder):
        return None
    handle = hold(folder)
    try:
        manifest = check(folder)
    except BaseException:
        os.close(handle)
        raise
    cache = Cache.model_construct(folder=folder, **dict(manifest))
    weakref.finalize(cache, os.close, handle)
    return cache


def _rebuild(dataset: Mapping[str, Any], folder: Path, group: Group) -> Cache:
    """Build into a folder next to it, check that, and put it in place. The lock is held."""
    start, plan, files = time.monotonic(), plan_columns(dataset), find_files(dataset)
    remove_leftovers(folder)
    logger.info("Building the cache %s", folder)
    with _written(folder.parent), fresh_folder(folder) as fresh:
        group.from_first(lambda: str(fresh.absolute()))
        build(plan, files, folder.name, fresh, group=group)
        if fingerprint(dataset, files) != folder.name:
            raise DataError(
                f"dataset {dataset['dataset_id']!r}: its files changed while they were read. Start "
                "again when they are complete."
            )
        check(fresh)
        replace(fresh, folder)
    logger.info("Built the cache in %.1f s", time.monotonic() - start)
    cache = _open(folder)
    assert cache is not None, folder
    return cache


def _help(dataset: Mapping[str, Any], fresh: Path, group: Group) -> None:
    """Do this process' share of building into a folder."""
    if not fresh.is_dir():
        raise DataError(
            f"build_together: process {group.number} of {group.count} does not see {fresh}, the "
            "folder in which the first one builds. Put data_root in a folder that all hosts "
            "share, or leave build_together out."
        )
    files, name = find_files(dataset), final_name(fresh.name)
    if fingerprint(dataset, files) != name:
        raise DataError(
            f"build_together: the source files, settings or packages of process {group.number} of "
            f"{group.count} differ from those of the first one. Give all hosts the same."
        )
    with _written(fresh.parent):
        build(plan_columns(dataset), files, name, fresh, group=group)


@contextmanager
def _written(home: Path) -> Iterator[None]:
    """Raise what the system denies while a cache is written as an error that names its folder."""
    try:
        yield
    except UserError:
        raise
    except (OSError, Damaged) as error:
        raise OutputError(
            f"data_root {home}: the cache could not be written: {error}. Free some space "
            "or choose another data_root."
        ) from error
