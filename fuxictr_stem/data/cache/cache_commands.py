"""``fuxictr_stem cache``: list, verify and clear the caches, in words and tables for people."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from fuxictr_stem.data.cache import inventory
from fuxictr_stem.data.cache.expected_caches import asked_for
from fuxictr_stem.data.cache.inventory import USELESS, Found, State
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import DataError, OutputError, suggest
from fuxictr_stem.runtime.logs import tell

logger = logging.getLogger(__name__)

_HEAD = ["dataset", "cache", *SPLITS, "size", "made", "state"]
_NUMBERS = {*SPLITS, "size"}
_PERHAPS_WHOLE = (State.WHOLE, State.UNKNOWN, State.UNREADABLE)
_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"]


def list_caches(config_dir: Path, data_root: Path | None, dataset_id: str | None) -> int:
    """Print a table of the caches; return 0.

    Args:
        config_dir: Folder of the configs, which say what is still asked for.
        data_root: Folder of the caches; None takes those that the datasets name.
        dataset_id: The dataset whose caches are meant; None takes all.

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
    checked, damages = [], []
    for found in _find(config_dir, data_root, dataset_id):
        logger.info("Reading %s", found.folder)
        found, texts = inventory.verify(found)
        checked.append(found)
        damages += texts
    _print(checked, reasons=False)
    unread = [found.why for found in checked if found.state is State.UNREADABLE]
    if unread:
        tell("\nNot checked:", *(f"  {why}" for why in unread))
    if damages:
        tell("\nDamaged:", *(f"  {text}" for text in damages))
        tell("`fuxictr_stem cache clear` removes damaged caches; the next run builds them anew.")
        return 1
    tell("\nNothing else is damaged." if unread else "\nNothing is damaged.")
    return int(bool(unread))


def clear_caches(
    config_dir: Path,
    data_root: Path | None,
    dataset_id: str | None,
    everything: bool = False,
    dry_run: bool = False,
) -> int:
    """Remove caches that no run reads again, and say so; other arguments as of `list_caches`.

    Args:
        config_dir: Folder of the configs.
        data_root: Folder of the caches.
        dataset_id: The dataset whose caches are meant.
        everything: Whether whole caches go, too.
        dry_run: Whether to tell only what would go.

    Returns:
        1 if one could not be removed, else 0.
    """
    count = freed = failed = 0
    for found in _find(config_dir, data_root, dataset_id):
        if found.state in _PERHAPS_WHOLE and not everything:
            logger.info("Reading %s", found.folder)
            found, _ = inventory.verify(found)
            if found.state not in USELESS:
                continue
        try:
            size = inventory.clear(found, dry_run)
        except OutputError as error:
            tell(f"kept {found.folder}: {error}")
            failed += 1
            continue
        if found.state is State.BUILDING or size is None:
            tell(f"kept {found.folder}: a run is using it, or has just built it anew")
            continue
        count, freed = count + 1, freed + size
        what = "would remove" if dry_run else "removed"
        tell(f"{what} {found.folder} ({found.state.value}, {_size(size)})")
    verb = "Would remove" if dry_run else "Removed"
    tell(f"{verb} {count} {'cache' if count == 1 else 'caches'}, {freed:,} bytes.")
    return int(failed > 0)


def _find(config_dir: Path, data_root: Path | None, dataset_id: str | None) -> list[Found]:
    if data_root is not None and not os.path.isdir(data_root):
        raise DataError(f"--data-root {data_root}: there is no such folder.")
    asked = asked_for(config_dir)
    roots = asked.roots if data_root is None else [data_root]
    found = list(inventory.find(roots, asked.names))
    if dataset_id is None:
        return found
    known = {*asked.names, *(one.dataset_id for one in found)}
    if dataset_id not in known:
        raise DataError(
            f"--dataset {dataset_id}: neither the config nor the folder of the caches has it."
            f"{suggest(dataset_id, known)}"
        )
    return [one for one in found if one.dataset_id == dataset_id]


def _print(found: Sequence[Found], reasons: bool = True) -> None:
    """Print a table for each folder, and below it why a cache is not as it should be."""
    if not found:
        tell("There is no cache.")
    for root in dict.fromkeys(one.folder.parent.parent for one in found):
        inside = [one for one in found if one.folder.parent.parent == root]
        size = _size(sum(one.size for one in inside))
        tell(f"{root}: {size}", "", *_lines([_HEAD, *map(_cells, inside)]))
        whys = [f"{one.folder.name}: {one.why}" for one in inside if one.why]
        if whys and reasons:
            tell("", *whys)


def _cells(found: Found) -> list[str]:
    rows = [f"{found.rows[split]:,}" if split in found.rows else "" for split in SPLITS]
    made = f"{datetime.fromtimestamp(found.changed):%Y-%m-%d %H:%M}"
    name = found.folder.name
    return [found.dataset_id, name, *rows, _size(found.size), made, found.state.value]


def _lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the first row is its head."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(table[0], row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:,.{min(power, 1)}f} {_UNITS[power]}"
