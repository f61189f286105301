"""Column types and forms of ``preprocess``, for configs and for reading data.

It imports nothing but the standard library: scoring rows needs it, and neither models nor pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

CATEGORICAL, NUMERIC, SEQUENCE = "categorical", "numeric", "sequence"
EMBEDDING, META = "embedding", "meta"
COLUMN_TYPES = (CATEGORICAL, NUMERIC, SEQUENCE, EMBEDDING, META)
DTYPES = ("str", "int", "float")

QUOTE = '"'
"""What quotes a field of a CSV file, unless the config says otherwise."""

COPY = re.compile(r"\s*copy_from\s*(?:\(\s*([^()]*?)\s*\))?\s*")
CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(\s*([^()]*?)\s*\))?\s*")
BOTH = re.compile(r"\s*both\s*\(\s*([^(),]*[^(),\s])\s*,\s*([^(),]*[^(),\s])\s*\)\s*")


def copied_column(preprocess: str | None, name: str) -> str | None:
    """Return the column that a normalised ``preprocess`` of the column ``name`` copies, if any.

    Example:
        >>> copied_column("copy_from(user)", "group"), copied_column(None, "group")
        ('user', None)
    """
    match = COPY.fullmatch(preprocess or "")
    return (match[1] or name) if match else None


def copy_chain(name: str, columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a column, what it copies, what that copies, and so on, to that of the files or a repetition.

    Example:
        >>> copy_chain("group", {"group": {"preprocess": "copy_from(user)"}, "user": {}})
        ['group', 'user']
    """
    chain = [name]
    while chain[-1] not in chain[:-1]:
        last = chain[-1]
        source = copied_column(columns.get(last, {}).get("preprocess"), last)
        if source in (None, last):
            break
        chain.append(str(source))
    return chain


def function_call(preprocess: str | None, name: str) -> tuple[str, str] | None:
    """Return the function, and its text, that a normalised ``preprocess`` of a feature calls, if any.

    Example:
        >>> function_call("hour(time)", "hour"), function_call("copy_from(time)", "hour")
        (('hour', 'time'), None)
    """
    match = CALL.fullmatch(preprocess or "")
    if match is None or match[1] == "copy_from":
        return None
    return match[1], name if match[2] is None else match[2]


def combined_labels(preprocess: str | None) -> tuple[str, str] | None:
    """Return the two labels that a normalised ``preprocess`` of a label combines, if it does.

    Example:
        >>> combined_labels("both(click, like)"), combined_labels("copy_from(click)")
        (('click', 'like'), None)
    """
    match = BOTH.fullmatch(preprocess or "")
    return (match[1], match[2]) if match else None


def labels_of_files(label_col: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the labels of a dataset that its files hold: those that combine no others.

    Example:
        >>> both = {"name": "both", "preprocess": "both(click, like)"}
        >>> labels_of_files([{"name": "click"}, {"name": "like"}, both])
        [{'name': 'click'}, {'name': 'like'}]
    """
    return [dict(col) for col in label_col if not combined_labels(col.get("preprocess"))]
