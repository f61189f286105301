"""The characters and the bytes of a CSV file: what separates fields, gzip, and whether it is UTF-8."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from fuxictr_stem.config.column_words import QUOTE

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a plain or a gzipped file may raise."""

# What a file is that begins so.
_OTHERS = {
    b"\x1f\x8b": "gzipped, but its name does not say so. Rename it to end with .gz.",
    b"PAR1": "parquet, but its name does not say so. Rename it to end with .parquet.",
    b"PK\x03\x04": "a workbook of Excel or a zip file. Save it as CSV UTF-8, or unpack it.",
    codecs.BOM_UTF16_LE: "UTF-16, such as Excel's Unicode text. Save it as CSV UTF-8.",
}


@dataclass(frozen=True)
class Dialect:
    """The special characters of a CSV file, each one ASCII character."""

    sep: str = ","  # between two fields
    # Around a field; within one it is doubled. None if quotes are characters like any other.
    quote: str | None = QUOTE
    # Before a character that is then taken as it is, in quotes or not; None if there is none.
    escape: str | None = None

    def rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
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


def dialect_for(paths: Sequence[Path], dialect: Dialect) -> Dialect:
    """Return how new files are written: as those of training, but with tabs where all names say so."""
    tabs = all(path.name.endswith((".tsv", ".tsv.gz")) for path in paths)
    return replace(dialect, sep="\t") if tabs else dialect


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading; one that ends with .gz is unpacked on the way."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def where_not_utf8(path: Path) -> str | None:
    """Return a sentence that names the first line which is not UTF-8, or what else the file is, or None."""
    first = b""
    with open_bytes(path) as file:
        # No character of UTF-8 goes on beyond a line's end.
        for number, text in enumerate(file, 1):
            first = first or text
            try:
                text.decode()
            except UnicodeDecodeError as error:
                kind = next(
                    (kind for start, kind in _OTHERS.items() if first.startswith(start)), ""
                )
                line = f"line {number:,} is not UTF-8 ({error.reason}). Save the file as UTF-8."
                return f"it is {kind}" if kind else line
    return None
