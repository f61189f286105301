"""The column that groups rows for gAUC."""

from __future__ import annotations

import logging
from typing import Any

from fuxictr_stem.config.column_words import EMBEDDING, META, SEQUENCE, copied_column, function_call
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.errors import suggest

logger = logging.getLogger(__name__)

Columns = list[dict[str, Any]]


def group_column(
    group_id: str, cols: Columns, labels: Columns, place: str, problems: Problems
) -> tuple[str, Columns]:
    """Return the meta column that groups rows, and the features with it; it may be added to them.

    Rare values of a categorical feature share one index, which would merge their groups; a meta
    column keeps every value apart.
    """
    by_name = {col["name"]: col for col in cols}
    label_names = [label["name"] for label in labels]
    col = by_name.get(group_id)
    if col is None:
        label = ", which is a label" if group_id in label_names else ""
        text = f"must name a column of feature_cols, found {group_id!r}{label}."
        problems.add(place, text, suggest(group_id, by_name) or "Add it there with type: meta.")
    elif col["type"] == META:
        if not col["active"]:
            problems.add(place, f"names the inactive column {group_id!r}.", "Set active: True.")
    elif col["type"] in (SEQUENCE, EMBEDDING) or "(" in group_id or ")" in group_id:
        text = (
            f"names {group_id!r}, a column of type {col['type']}, which cannot be copied as groups."
        )
        problems.add(place, text, "Name a column with one id per row, best of type meta.")
    elif function_call(col.get("preprocess"), group_id):
        text = f"names {group_id!r}, which no file holds: it is {col['preprocess']}."
        problems.add(place, text, "Name a column of the files.")
    elif copies := [c["name"] for c in cols if c["active"] and _copies(c, group_id)]:
        return copies[0], cols
    else:
        name = f"{group_id}_group"
        while name in by_name or name in label_names:
            name += "_"
        logger.debug(
            "group_id: %s is a %s feature; its values are kept apart in the meta column %s.",
            group_id,
            col["type"],
            name,
        )
        meta = {"name": name, "active": True, "type": META, "dtype": col["dtype"]}
        meta |= {"preprocess": f"copy_from({group_id})"}
        if "fill_na" in col:
            meta["fill_na"] = col["fill_na"]
        # First, since FuxiCTR works from the last column to the first: the copy comes after what
        # the copied column does to itself.
        return name, [meta, *cols]
    return group_id, cols


def _copies(col: dict[str, Any], name: str) -> bool:
    return col["type"] == META and copied_column(col.get("preprocess"), col["name"]) == name
