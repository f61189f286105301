"""The files in ``templates/``, filled in: Markdown, HTML with everything escaped, and plain sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(name: str, **content: Any) -> str:
    """Return a template, by its file's name, with content; ``.txt`` is escaped by what shows it."""
    return _ENVIRONMENTS[Path(name).suffix].get_template(name).render(content)


def escape_markdown(text: object) -> str:
    r"""Return text that a Markdown table shows as it is.

    Example:
        >>> print(escape_markdown("<b> | *"))
        \<b> \| \*
    """
    flat = " ".join(str(text).split()).replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", flat)


def _environment(**options: Any) -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


# Markdown escapes by its own rules, in `finalize`; sentences are escaped where they are shown.
_ENVIRONMENTS = {
    ".html": _environment(autoescape=True),
    ".md": _environment(autoescape=False, finalize=escape_markdown),
    ".txt": _environment(autoescape=False),
}
