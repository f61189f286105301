"""The same data on all ranks, whose hosts share a folder or have one each."""

from __future__ import annotations

from collections.abc import Callable

from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.errors import DataError
from fuxictr_stem.training.ranks import Ranks


def open_same_data(
    open_data: Callable[[], Cache], name_of_data: Callable[[], str | None], ranks: Ranks
) -> Cache:
    """Open the data on the first rank, then on the first of every other host, then on all the others.

    So what is not there yet is built once in each folder, also where there are no locks. ``name_of_data``
    returns the name that this rank's cache has; None where that is not known before. Data that
    differ from the first rank's are a DataError.
    """
    opened = [open_data()] if ranks.is_first else []
    name: str = ranks.from_first(lambda: opened[0].folder.name)

    def open_here() -> Cache:
        if not opened:
            if ranks.host.is_first:
                # Before the work of building another one.
                _check(name_of_data() or name, name, ranks)
            opened.append(open_data())
            _check(opened[0].folder.name, name, ranks)
        return opened[0]

    return ranks.host.after_first(open_here)


def _check(here: str, there: str, ranks: Ranks) -> None:
    if here != there:
        raise DataError(
            f"The data of {ranks.name} differ from those of rank 0 (cache {here}, rank 0 has "
            f"{there}). Give all hosts the same versions of the packages, and one shared folder or "
            "the same source files, copied with their modification times (cp -p, rsync -a)."
        )
