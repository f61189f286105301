"""What one cell of a file is under a declared type, in plain Python: for the oracle of inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from tests.support.oracle.files import QUOTED_EMPTY, NoReading

FLOAT32_MAX = float(np.finfo(np.float32).max)
_INT = re.compile(r"[+-]?[0-9]+")
_DIGITS = r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_FLOAT = re.compile(rf"[+-]?({_DIGITS}|nan|inf|infinity)", re.IGNORECASE)


def text(raw: Any) -> str | None:
    """Return the token of a cell of a ``str`` column; the same value of two types is the same token.

    Raises:
        NoReading: It has no text.
    """
    if raw is None:
        return None
    if isinstance(raw, str):
        return str(raw)
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, (int, float, Decimal)):
        if isinstance(raw, float) and not math.isfinite(raw):
            return str(raw)
        return str(int(raw)) if raw == int(raw) else repr(float(raw))
    if isinstance(raw, datetime):
        midnight = raw.time() == time(0) and not getattr(raw, "nanosecond", 0)
        return raw.date().isoformat() if midnight else str(raw)
    if isinstance(raw, (date, time, timedelta)):
        return str(raw)
    raise NoReading(f"a {type(raw).__name__} is not text")


def number(raw: Any, dtype: str, doubts: set[str]) -> int | float | None:
    """Return the number of a cell, or None where it is missing.

    Args:
        raw: What the file holds.
        dtype: ``int`` or ``float``.
        doubts: Takes why a refusal would be right, too.

    Raises:
        NoReading: It is no such number.
    """
    if raw is None:
        return None
    if isinstance(raw, str):
        return _parsed(raw, dtype, doubts)
    if not isinstance(raw, (bool, int, float, Decimal)):
        raise NoReading(f"a {type(raw).__name__} is no number")
    if dtype == "float":
        return float(raw)
    if isinstance(raw, float) and math.isnan(raw):
        doubts.add("NaN among integers")
        return None
    if isinstance(raw, float) and (not math.isfinite(raw) or abs(raw) >= 2**53):
        raise NoReading("a float that is no id")
    if isinstance(raw, float) and abs(raw) >= 2**24:
        doubts.add("a float that, as float32, is no id")
    return _whole(raw)


def _parsed(raw: str, dtype: str, doubts: set[str]) -> int | float | None:
    stripped = raw.strip()
    if not stripped:
        if raw is QUOTED_EMPTY or raw:
            doubts.add("quoted or blank text for a missing number")
        return None
    if _INT.fullmatch(stripped):
        return _whole(int(stripped)) if dtype == "int" else float(stripped)
    if not _FLOAT.fullmatch(stripped):
        raise NoReading(f"{raw[:40]!r} is no number")
    value = float(stripped)
    if dtype == "float":
        return value
    if not math.isfinite(value) or abs(value) >= 2**53:
        raise NoReading(f"{raw[:40]!r} is no whole number")
    doubts.add("a whole number written as a float")
    return _whole(value)


def _whole(value: Any) -> int:
    if value != int(value):
        raise NoReading(f"{value!r} is no whole number")
    if not -(2**63) <= value < 2**63:
        raise NoReading(f"{value!r} has more than 64 bits")
    return int(value)


def fits_float32(value: float) -> bool:
    """Return whether a number is finite, also as float32."""
    return abs(value) <= FLOAT32_MAX


def fill_of(col: Mapping[str, Any]) -> Any:
    """Return what a missing value of a feature becomes: FuxiCTR's rule."""
    dtype = "str" if col["type"] == "sequence" else col["dtype"]
    if raw_id(col):
        return int(col.get("fill_na", 0))
    if dtype == "str":
        return str(col.get("fill_na", ""))
    return col.get("fill_na", 0)


def raw_id(col: Mapping[str, Any]) -> bool:
    """Return whether a meta column keeps its integers."""
    return col["type"] == "meta" and not col.get("remap", True)
