"""What every run reports of the ids that it uses, even where their cache was built long ago."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fuxictr_stem.data.cache.open_cache import Cache
from fuxictr_stem.data.encoding.remarks import percent
from fuxictr_stem.errors import listed

logger = logging.getLogger(__name__)

_WORST = 3


def report_ids(cache: Cache, params: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Log the shares of unknown ids, a line per split, and warn of odd columns, once per heading.

    Columns that a run of these checked parameters does not use are left out. Returns the shares by
    split and column.
    """
    feature_map = cache.feature_map(params)
    used = {*feature_map.features, *feature_map.labels}
    shares = {
        split: {name: share for name, share in columns.items() if name in used}
        for split, columns in cache.unknown.items()
    }
    for split, columns in shares.items():
        if columns:
            logger.debug("Unknown ids of %s: %s", split, worst(columns))
    remarks = [remark for remark in cache.remarks if remark.column in used]
    for heading in dict.fromkeys(remark.heading for remark in remarks):
        texts = [remark.text for remark in remarks if remark.heading == heading]
        logger.warning("%s", listed(heading, texts))
    return shares


def worst(columns: Mapping[str, float]) -> str:
    """Return the columns with the largest shares as text."""
    some = sorted((item for item in columns.items() if item[1] > 0), key=lambda item: -item[1])
    if not some:
        return "none"
    text = ", ".join(f"{name} {percent(share)}" for name, share in some[:_WORST])
    rest = some[_WORST:]
    return text + (f" ({len(rest)} more up to {percent(rest[0][1])})" if rest else "")
