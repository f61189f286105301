"""What a user can fix: each error names the argument, the rule, the value found and the next step.

A command ends with the message alone and exit code 2; a traceback is left for our own defects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """Training that cannot go on, such as a loss that is not finite."""


class OutputError(UserError):
    """A folder or file that cannot be written."""


class Stopped(KeyboardInterrupt):
    """A run was told to stop by a signal; the text says what is saved and how to go on.

    Args:
        signal: Number of the signal.
        text: For people.
    """

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.signal = signal


def suggest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Return a sentence fragment that names the nearest known names.

    Args:
        name: The name that was not found.
        known: The names there are.
        limit: The most names to offer.

    Returns:
        ``" Did you mean 'a' or 'b'?"``, or an empty string when nothing is near.
    """
    names = sorted({str(k) for k in known})
    near = difflib.get_close_matches(str(name), names, n=limit, cutoff=0.6)
    if not near:
        folded = {n.lower(): n for n in names}
        near = [folded[m] for m in difflib.get_close_matches(str(name).lower(), folded, n=limit)]
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
