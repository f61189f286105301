"""What a preparer is: one data set's way from official raw files to split files.

    raw files --raw.read_blocks--> polars frames --splits.SplitWriter--> train, valid, test CSV

A preparer knows its raw files, its options, and which row belongs to which split. When to run it,
and how its files come into place, is `runner`'s business and the same for all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_stem.data.preparers.splits import SplitWriter
from fuxictr_stem.errors import ConfigError, DataError, suggest

_COMMON_KEYS = ("preparer", "raw_dir", "stand_in")

PERMISSION = "permission"
"""Metadata of an option that permits something without deciding what the rows are."""


class RawFilesMissing(DataError):
    """The official files are not there; the message says which, where, and how to get them."""


@dataclass(frozen=True)
class Preparer:
    """One data set's way from raw files to splits.

    Attributes:
        name: The value of ``prepare.preparer``.
        version: Counted up when the same raw files and options give other rows, so that split
            files of before are prepared again.
        options: A dataclass: its fields are the options, its ``__post_init__`` checks them and
            raises `ConfigError`.
        find_raw: ``(raw_dir, options) -> files``; cheap; raises `RawFilesMissing`.
        write_splits: ``(files, raw_dir, options, writer)``; writes every row into its split.
    """

    name: str
    version: int
    options: type
    find_raw: Callable[[Path, Any], list[Path]]
    write_splits: Callable[[list[Path], Path, Any, SplitWriter], None]

    def parse_options(self, spec: dict[str, Any]) -> Any:
        """Return the options in a config's ``prepare`` mapping, checked.

        Raises:
            ConfigError: An option is unknown, missing or has a value that it cannot have.
        """
        given = {key: value for key, value in spec.items() if key not in _COMMON_KEYS}
        fields = {field.name: field for field in dataclasses.fields(self.options)}
        known = ", ".join(sorted(fields)) or "none"
        problems = [
            f"prepare.{key}: the preparer {self.name!r} has no such option "
            f"(it has: {known}).{suggest(key, [*fields, *_COMMON_KEYS])}"
            for key in given
            if key not in fields
        ]
        problems += [
            f"prepare.{name}: the preparer {self.name!r} needs this option."
            for name, field in fields.items()
            if name not in given and field.default is dataclasses.MISSING
        ]
        if problems:
            raise ConfigError("\n".join(problems))
        return self.options(**given)
