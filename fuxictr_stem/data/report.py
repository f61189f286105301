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
    count = "" if len(problems) == 1 else f": {len(problems)} problems"
    raise error(listed(f"{heading}{count}", problems))


def listed(heading: str, texts: Sequence[str]) -> str:
    """Return a heading and the texts below it, the first twenty of them; a single one stands beside it."""
    if len(texts) == 1:
        return f"{heading}: {texts[0]}"
    shown = [f"\n- {text}" for text in texts[:_MOST_SHOWN]]
    more = len(texts) - len(shown)
    return f"{heading}{''.join(shown)}" + (f"\n- and {more} more" if more else "")
