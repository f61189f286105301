"""One message for all problems of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from fuxictr_stem.errors import UserError

_MOST_SHOWN = 20


def refuse(error: type[UserError], heading: str, problems: Sequence[str]) -> NoReturn:
    """Raise one error that lists every problem.

    Args:
        error: The kind of error.
        heading: What was looked at, e.g. ``"dataset 'tiny': its files"``.
        problems: One sentence or more for each problem.

    Raises:
        UserError: Always, of the given kind.
    """
    if len(problems) == 1:
        raise error(f"{heading}: {problems[0]}")
    shown = [f"\n- {problem}" for problem in problems[:_MOST_SHOWN]]
    more = len(problems) - len(shown)
    rest = f"\n- and {more} more" if more else ""
    raise error(f"{heading}: {len(problems)} problems{''.join(shown)}{rest}")
