"""``fuxictr_stem cache``: list, verify and clear the caches, in words and tables for people."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fuxictr_stem.data.cache import inventory
from fuxictr_stem.data.cache.expected_caches import expected_caches
from fuxictr_stem.data.cache.inventory import USELESS, FoundCache, State
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import DataError, OutputError, suggest
from fuxictr_stem.runtime.logs import tell
from fuxictr_stem.runtime.text_table import amount, format_bytes, text_table

logger = logging.getLogger(__name__)

_HEAD = ["dataset", "cache", *SPLITS, "size", "made", "state"]
_PERHAPS_WHOLE = (State.WHOLE, State.UNKNOWN, State.UNREADABLE)


def list_caches(config_dir: Path, data_root: Path | None, dataset_id: str | None) -> int:
    """Print a table of the caches; return 0.

    The configs say what runs still ask for. Without ``data_root``, the caches are those in the folders
    that the datasets name; without ``dataset_id``, they are those of all datasets.

    Raises:
        UserError: A folder or the config cannot be read, or there is no such dataset.
    """
    _print(_find(config_dir, data_root, dataset_id))
    return 0


def verify_caches(config_dir: Path, data_root: Path | None, dataset_id: str | None) -> int:
    """Read every byte of the caches and name each damaged file; arguments as of `list_caches`.

    Returns:
        1 if something is damaged or cannot be read, else 0.
    """
    caches, damages = [], []
    for cache in _find(config_dir, data_root, dataset_id):
        cache, texts = _verify(cache)
        caches.append(cache)
        damages += texts
    _print(caches, reasons=False)
    unread = [cache.why for cache in caches if cache.state is State.UNREADABLE]
    if unread:
        tell("\nNot checked:", *(f"  {why}" for why in unread))
    if damages:
        tell("\nDamaged:", *(f"  {text}" for text in damages))
        tell("`fuxictr_stem cache clear` removes damaged caches; the next run rebuilds them.")
    else:
        tell("\nNothing else is damaged." if unread else "\nNothing is damaged.")
    return int(bool(unread or damages))


def clear_caches(
    config_dir: Path,
    data_root: Path | None,
    dataset_id: str | None,
    everything: bool = False,
    dry_run: bool = False,
) -> int:
    """Remove caches that no run reads again, and report them; other arguments as of `list_caches`.

    With ``everything``, whole caches go, too; with ``dry_run``, none goes. Returns 1 if one could not be
    removed, else 0.
    """
    count = freed = failed = 0
    verb = "would remove" if dry_run else "removed"
    for cache in _find(config_dir, data_root, dataset_id):
        if cache.state in _PERHAPS_WHOLE and not everything:
            cache, _ = _verify(cache)
            if cache.state not in USELESS:
                continue
        try:
            size = inventory.clear(cache, dry_run)
        except OutputError as error:
            tell(f"kept {cache.folder}: {error}")
            failed += 1
            continue
        if cache.state is State.BUILDING or size is None:
            tell(f"kept {cache.folder}: a run is using it, or has just rebuilt it")
            continue
        count, freed = count + 1, freed + size
        tell(f"{verb} {cache.folder} ({cache.state.value}, {format_bytes(size)})")
    tell(f"{verb.capitalize()} {amount(count, 'cache')}, {freed:,} bytes.")
    return int(failed > 0)


def _verify(cache: FoundCache) -> tuple[FoundCache, list[str]]:
    logger.info("Reading %s", cache.folder)
    return inventory.verify(cache)


def _find(config_dir: Path, data_root: Path | None, dataset_id: str | None) -> list[FoundCache]:
    if data_root is not None and not os.path.isdir(data_root):
        raise DataError(f"--data-root {data_root}: there is no such folder.")
    expected = expected_caches(config_dir)
    roots = expected.roots if data_root is None else [data_root]
    caches = list(inventory.find(roots, expected.names))
    if dataset_id is None:
        return caches
    ids = {*expected.names, *(cache.dataset_id for cache in caches)}
    if dataset_id not in ids:
        raise DataError(
            f"--dataset {dataset_id}: neither the config nor the folder of the caches has it."
            f"{suggest(dataset_id, ids)}"
        )
    return [cache for cache in caches if cache.dataset_id == dataset_id]


def _print(caches: Sequence[FoundCache], reasons: bool = True) -> None:
    """Print a table for each folder, and below it why a cache is not as it should be."""
    if not caches:
        tell("There is no cache.")
    for root in dict.fromkeys(cache.folder.parent.parent for cache in caches):
        inside = [cache for cache in caches if cache.folder.parent.parent == root]
        size = format_bytes(sum(cache.size for cache in inside))
        tell(f"{root}: {size}", "", text_table([_HEAD, *map(_cells, inside)], left=2))
        whys = [f"{cache.folder.name}: {cache.why}" for cache in inside if cache.why]
        if whys and reasons:
            tell("", *whys)


def _cells(cache: FoundCache) -> list[str]:
    rows = [f"{cache.rows[split]:,}" if split in cache.rows else "" for split in SPLITS]
    made = f"{datetime.fromtimestamp(cache.changed):%Y-%m-%d %H:%M}"
    size, state = format_bytes(cache.size), cache.state.value
    return [cache.dataset_id, cache.folder.name, *rows, size, made, state]
