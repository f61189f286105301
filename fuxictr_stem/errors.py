"""Errors that a user can fix. Each names the argument, the rule, the value found and the next step.

A command then prints only the message and ends with exit code 2; tracebacks are for defects.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_MOST_SHOWN = 20


class UserError(Exception):
    """A mistake that the user can fix; the text is written for people.

    `ConfigError` and `DataError` are ValueErrors, too, as Python's own functions raise for an argument.
    The others have no second base: a handler of the system's or PyTorch's errors must not catch them and
    put other words in their place.
    """


class ConfigError(UserError, ValueError):
    """A configuration or an argument that breaks a rule."""


class DataError(UserError, ValueError):
    """A data file that is absent, incomplete or does not hold what its config declares."""


class AccessError(UserError):
    """A file that the system does not let be read now, whatever it holds."""


class TrainingError(UserError):
    """Training that cannot continue, such as a loss that is not finite."""


class OutputError(UserError):
    """A folder or file that cannot be written."""


class Stopped(KeyboardInterrupt):
    """A signal stopped a run; the text says what is saved and how to continue."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.signal = signal


class Problem(NamedTuple):
    """What is wrong with a setting.

    What implements a rule yields these: its constructor raises the first, the check of a config collects
    all.
    """

    key: str  # the setting
    text: str  # the rule, and the value found
    hint: str = ""  # the next step


def raise_first(problems: Iterable[Problem]) -> None:
    """Raise a ConfigError with the first of some problems, if there is any."""
    for key, text, hint in problems:
        raise ConfigError(f"{key}: {text} {hint.strip()}".rstrip())


def misfit(key: str, words: str, value: object, hint: str = "") -> Problem:
    """Return the problem of a value that is not what it must be, in words that follow "must be"."""
    return Problem(key, f"must be {words}, found {short(value)}.", hint)


def choice_problems(
    key: str, value: object, values: Collection[object], *others: str
) -> Iterator[Problem]:
    """Yield that a value is none of some values; the others are what else it may be, in words."""
    if value not in list(values):
        yield misfit(key, one_of(values, *others), value, suggest(str(value), map(str, values)))


def count_problems(most: int, **counts: object) -> Iterator[Problem]:
    """Yield the arguments that are no whole number from 1 to a limit."""
    for key, count in counts.items():
        if not isinstance(count, Integral) or not 1 <= int(count) <= most:
            yield misfit(key, whole_number(1, most), count)


def one_of(values: Collection[object], *others: str) -> str:
    """Return what a choice must be, in words."""
    names = ", ".join(map(str, values))
    return ", or ".join([f"one of {names}" if len(values) > 1 else names, *others])


def whole_number(low: int, high: int) -> str:
    """Return what a whole number within bounds must be, in words."""
    return f"a whole number from {low} to {high}"


def suggest(name: str, names: Iterable[str]) -> str:
    """Return a sentence that offers the names nearest to one that was not found, or "".

    Example:
        >>> suggest("vidoe", ["video", "user"]), suggest("x", ["video", "user"])
        (" Did you mean 'video'?", '')
    """
    there = sorted({*map(str, names)})
    near = difflib.get_close_matches(str(name), there)
    if not near:
        folded = {n.lower(): n for n in there}
        near = [folded[m] for m in difflib.get_close_matches(str(name).lower(), folded)]
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def short(value: object) -> str:
    """Return a value as text of bounded length."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    r"""Return the first line of what an error says, or its kind where it says nothing.

    Example:
        >>> first_line(ValueError("no number\nat all")), first_line(MemoryError())
        ('no number', 'MemoryError')
    """
    return (str(error) or type(error).__name__).splitlines()[0]


def raise_all(error: type[UserError], heading: str, problems: Iterable[str]) -> None:
    """Raise one error of a kind that lists every problem, a sentence or more each, if there is any.

    The heading is what was looked at, e.g. ``"dataset 'tiny': its files"``.
    """
    texts = list(problems)
    if texts:
        count = "" if len(texts) == 1 else f": {len(texts)} problems"
        raise error(listed(f"{heading}{count}", texts))


def listed(heading: str, texts: Sequence[str]) -> str:
    """Return a heading and the first twenty texts below it; a single text follows it in its line."""
    if len(texts) == 1:
        return f"{heading}: {texts[0]}"
    shown = [f"\n- {text}" for text in texts[:_MOST_SHOWN]]
    more = len(texts) - len(shown)
    return f"{heading}{''.join(shown)}" + (f"\n- and {more} more" if more else "")
