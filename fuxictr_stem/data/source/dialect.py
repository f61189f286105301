"""How the fields of a CSV file are set apart, and the bytes of a file that may be gzipped."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from fuxictr_stem.config.values import QUOTE

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a plain or a gzipped file may raise."""


@dataclass(frozen=True)
class Dialect:
    """The special characters of a CSV file, each one ASCII character.

    Attributes:
        sep: Between two fields.
        quote: Around a field; within one it is doubled. None if quotes are characters like any other.
        escape: Before a character that is then taken as it is, in quotes or not; None if there is none.
    """

    sep: str = ","
    quote: str | None = QUOTE
    escape: str | None = None

    def rows(self, lines: IO[str]) -> Iterator[list[str]]:
        """Read rows as Python's csv module does.

        Raises:
            csv.Error: A quoted field continues after its closing quote, or has none.
        """
        return csv.reader(
            lines,
            delimiter=self.sep,
            quotechar=self.quote,
            escapechar=self.escape,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            strict=True,
        )


def dialect_of(dataset: Mapping[str, Any]) -> Dialect:
    """Return the special characters that a dataset config names."""
    names = {"sep": "sep", "csv_quote": "quote", "csv_escape": "escape"}
    return Dialect(**{field: dataset[key] for key, field in names.items() if key in dataset})


def is_gzipped(path: Path) -> bool:
    """Say whether a file's name says that it is gzipped."""
    return path.suffix == ".gz"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading; one that ends with .gz is unpacked on the way."""
    return cast(IO[bytes], gzip.open(path)) if is_gzipped(path) else path.open("rb")
