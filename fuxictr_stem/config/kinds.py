"""Kinds of config values: the rule in words, and the reading that enforces it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import yaml

from fuxictr_stem.errors import suggest

_LARGEST = 2**63 - 1
_BEYOND_FLOAT32 = 1e38


class Refused(ValueError):
    """A value breaks the rule of its kind; the text is the next step, if there is one to name."""


class Kind(NamedTuple):
    """A kind of value.

    Attributes:
        rule: What the value must be, to follow "must be".
        read: Returns the normalised value or raises `Refused`.
    """

    rule: str
    read: Callable[[Any], Any]


def whole(low: int, high: int | None = None) -> Kind:
    """Whole numbers of a range, both ends included."""

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            raise Refused(f"Write {int(value)}." if abs(value) < 1e15 else "")
        if not _is_int(value):
            raise Refused(_number_hint(value))
        if value < low or (high is not None and value > high):
            raise Refused
        if value > _LARGEST:
            raise Refused("No larger number than 2**63 - 1 is read.")
        return value

    return Kind(f"a whole number {_range(low, high)}", read)


def number(
    low: float | None = None, *, above: float | None = None, below: float | None = None
) -> Kind:
    """Finite numbers, at least ``low``, more than ``above``, less than ``below``."""

    def read(value: Any) -> float:
        if not _is_int(value) and not isinstance(value, float):
            raise Refused(_number_hint(value))
        try:
            found = float(value)
        except OverflowError:
            raise Refused from None
        inside = (
            math.isfinite(found)
            and (low is None or found >= low)
            and (above is None or found > above)
            and (below is None or found < below)
        )
        if not inside:
            raise Refused
        if abs(found) > _BEYOND_FLOAT32:
            raise Refused("Weights are of 32 bits: no number beyond 1e38 is read.")
        return found

    bounds = [(">=", low), (">", above), ("<", below)]
    said = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    return Kind(f"a finite number {said}".rstrip(), read)


def choice(values: Iterable[Any], instead: str = "") -> Kind:
    """One of some values, of the same type; ``instead`` is the next step where it is another."""
    known = list(values)

    def read(value: Any) -> Any:
        for one in known:
            if type(one) is type(value) and one == value:
                return one
        near = suggest(value, map(str, known)).strip() if isinstance(value, str) else ""
        raise Refused(near or instead)

    if len(known) == 1:
        return Kind(f"{known[0]}", read)
    return Kind(f"one of {', '.join(map(str, known))}", read)


def optional(kind: Kind) -> Kind:
    """A kind, or null."""
    return Kind(f"{kind.rule}, or null", lambda value: None if value is None else kind.read(value))


def list_of(kind: Kind, minimum: int = 0) -> Kind:
    """A list of values of a kind."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Refused("Write a list: [...].")
        if len(value) < minimum:
            raise Refused
        return [kind.read(item) for item in value]

    least = f" with at least {minimum} entr{'y' if minimum == 1 else 'ies'}" if minimum else ""
    return Kind(f"a list{least}, each entry {kind.rule}", read)


def one_or_list(kind: Kind) -> Kind:
    """A value of a kind, or a list of such values."""
    several = list_of(kind, minimum=1)

    def read(value: Any) -> Any:
        return several.read(value) if isinstance(value, list) else kind.read(value)

    return Kind(f"{kind.rule}, or a list of that", read)


def matching(pattern: str, rule: str) -> Kind:
    """Text that matches a regular expression as a whole."""
    compiled = re.compile(pattern, re.DOTALL)

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise Refused("Write it in quotes." if isinstance(value, (int, float)) else "")
        if not compiled.fullmatch(value):
            raise Refused
        return value

    return Kind(rule, read)


def _read_path(value: Any) -> str:
    text = TEXT.read(value)
    if text.startswith(("~", "$")):
        raise Refused("Write the path itself: neither '~' nor variables stand for anything here.")
    try:
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        # A name too long, a circle of links: nothing can be written or read there.
        raise Refused(f"The system says: {getattr(error, 'strerror', error)}.") from None
    return text


def _read_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused
    return value


def _read_null(value: Any) -> None:
    if value is not None:
        raise Refused


def _read_plain(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise Refused from None
    return value


def _read_plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        raise Refused
    return _read_plain(value)


def _read_plain_mapping(value: Any) -> Any:
    if not isinstance(value, dict):
        raise Refused
    return _read_plain(value)


BOOLEAN = Kind("True or False", _read_boolean)
TEXT = matching(r".*\S.*", "text that is not blank")
PATH = Kind("text that can be a path", _read_path)
STRING = matching(r".*", "text")
NULL = Kind("null", _read_null)
PLAIN = Kind("a number, text, True, False, null, or a list of these", _read_plain_value)
PLAIN_MAPPING = Kind("a mapping of plain YAML values", _read_plain_mapping)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _range(low: int, high: int | None) -> str:
    return f">= {low}" if high is None else f"from {low} to {high}"


def _number_hint(value: Any) -> str:
    """Say how to write a number that came as text, which YAML makes of ``1e-6``."""
    if not isinstance(value, str) or not value.isascii():
        return ""
    text = value.strip()
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        return ""
    if not finite:
        return ""
    if isinstance(yaml.safe_load(text), (int, float)):
        return f"Write {text} without quotes."
    mantissa, _, exponent = text.lower().partition("e")
    mantissa += "" if "." in mantissa else "."
    if exponent:
        mantissa += f"e{exponent}" if exponent[0] in "+-" else f"e+{exponent}"
    return f"YAML reads {text} as text: write {mantissa}."
