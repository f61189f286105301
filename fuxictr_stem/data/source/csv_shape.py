"""Which rows a CSV file has, from its bytes alone, and whether all readers agree on them.

A file is plain if it is written as RFC 4180 says: a quote opens a field only right at its beginning,
closes it only right at its end, and is doubled within. Then every reader finds the same rows. Two more
kinds of file have one right reading, on which Python's csv module, pandas and pyarrow agree, but not
polars: those with blank lines, which are no rows, and those with a quote inside of a field that is not
quoted, which is a character like any other. All else is an error that names the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.data.source.dialect import Dialect, open_bytes
from fuxictr_stem.errors import DataError

_BLOCK = 1 << 22
_LF, _CR, _OTHER = 10, 13, 97
_BOM = b"\xef\xbb\xbf"
_AROUND = 30

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Shape:
    """The rows of a CSV file."""

    records: int  # how many there are, the header included
    longest: int  # bytes of the longest one
    special: str  # what makes the file other than plain, in words; "" if it is plain


def csv_shape(path: Path, dialect: Dialect) -> Shape:
    """Find the rows of a CSV file, gzipped if it ends with .gz.

    Raises:
        DataError: It has no one right reading; the line and its text are named.
        OSError, EOFError, zlib.error: It cannot be read.
    """
    scan = _Scan(dialect)
    with open_bytes(path) as file:
        data = file.read(_BLOCK).removeprefix(_BOM)
        while True:
            more = file.read(_BLOCK)
            data = scan.feed(data, final=not more) + more
            if not more:
                return scan.shape()


class _Scan:
    """Goes through the bytes of a file block by block."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sep = ord(dialect.sep)
        self._quote = ord(dialect.quote) if dialect.quote else -1
        self._inside = False
        self._opened = ""
        self._before = _LF
        self._lines = self._offset = self._records = self._longest = 0
        self._last_end = -1
        self._special = ""

    def feed(self, data: bytes, final: bool) -> bytes:
        """Take the next bytes; return those at their end whose meaning depends on the next ones."""
        self._data = data
        raw = np.frombuffer(data, np.uint8)
        self._bytes, cut = self._without_escapes(raw, final)
        while not final and cut and self._bytes[cut - 1] in (self._quote, _CR):
            cut -= 1
        toggles = self._toggles(cut)
        self._find_lone_returns(cut, toggles)
        self._count(cut, toggles)
        self._inside ^= len(toggles) % 2 == 1
        if cut:
            self._before = int(self._bytes[cut - 1])
        self._lines += data.count(b"\n", 0, cut)
        self._offset += cut
        return data[cut:]

    def shape(self) -> Shape:
        """Return the rows of the whole file."""
        if self._inside:
            raise DataError(f"{self._opened} opens a field that no quote closes. {self._advice()}")
        rest = self._offset - self._last_end - 1
        return Shape(self._records + (rest > 0), max(self._longest, rest), self._special)

    def _without_escapes(self, raw: Array, final: bool) -> tuple[Array, int]:
        """Return the bytes with escaped characters made ordinary ones, and how many of them count."""
        escape = self._dialect.escape
        if escape is None or escape.encode() not in self._data:
            return raw, len(raw)
        at = np.flatnonzero(raw == ord(escape))
        # In a run of escapes every second one is escaped itself.
        first = np.append(True, np.diff(at) != 1)
        index = np.arange(len(at))
        escapes = at[(index - np.maximum.accumulate(np.where(first, index, 0))) % 2 == 0]
        cut = len(raw)
        if len(escapes) and final and self._data[escapes[-1] + 1 :] in (b"", b"\n", b"\r"):
            raise DataError(f"{self._place(int(escapes[-1]))}: the file ends after an escape.")
        if len(escapes) and escapes[-1] == len(raw) - 1:
            escapes, cut = escapes[:-1], len(raw) - 1
        wanted = (ord(escape), self._quote, self._sep, _LF, _CR)
        idle = ~np.isin(raw[escapes + 1], wanted)
        if idle.any():
            raise DataError(
                f"{self._place(int(escapes[idle.argmax()]))}: the escape character is before a "
                "character that needs none. Some readers keep it, others drop it. Double it "
                f"({escape * 2}), or leave csv_escape out."
            )
        self._special = self._special or "has escaped characters"
        ordinary = raw.copy()
        ordinary[escapes] = ordinary[escapes + 1] = _OTHER
        return ordinary, cut

    def _toggles(self, cut: int) -> Array:
        """Return where a quoted field begins or ends; a doubled quote may count as both, or as none."""
        data, inside = self._bytes, int(self._inside)
        at = np.empty(0, np.intp)
        if self._quote >= 0 and self._data.find(self._quote, 0, cut) >= 0:
            at = np.flatnonzero(data[:cut] == self._quote)
        if not len(at):
            return at
        before, after = data.take(at - 1, mode="wrap"), data.take(at + 1, mode="wrap")
        if at[0] == 0:
            before[0] = self._before
        if at[-1] == len(data) - 1:
            # The end of the file, too, closes a field.
            after[-1] = _LF
        begins = (before == self._sep) | (before == _LF)
        ends = (after == self._sep) | (after == _LF) | (after == _CR)
        doubled = after == self._quote
        # In a plain file each quote toggles, a doubled one twice.
        opens = (begins | (before == self._quote))[inside::2]
        closes = (ends | doubled)[1 - inside :: 2]
        if not (opens.all() and closes.all()):
            at = np.array(self._one_by_one(at, begins, ends, doubled), np.intp)
            fields = at[inside::2]
        else:
            fields = at[inside::2][begins[inside::2]]
        if (len(at) + inside) % 2 and len(fields):
            self._opened = f"{self._place(int(fields[-1]))}: the quote"
        return at

    def _one_by_one(self, at: Array, begins: Array, ends: Array, doubled: Array) -> list[int]:
        """Tell quotes that open and close fields from those that are characters like any other."""
        toggles: list[int] = []
        inside, skip = self._inside, False
        quotes = zip(at.tolist(), begins.tolist(), ends.tolist(), doubled.tolist(), strict=True)
        for place, begin, end, twice in quotes:
            if skip:
                skip = False
            elif not inside and begin:
                toggles.append(place)
                inside = True
            elif not inside:
                if not self._special:
                    where = self._place(place)
                    self._special = f"has a quote inside of a field that is not quoted ({where})"
            elif twice:
                skip = True
            elif end:
                toggles.append(place)
                inside = False
            else:
                raise DataError(
                    f"{self._place(place)}: a quoted field continues after a quote that is not doubled. "
                    f"{self._advice()}"
                )
        return toggles

    def _outside(self, at: Array, toggles: Array) -> Array:
        if not len(toggles):
            return at[:0] if self._inside else at
        return at[(np.searchsorted(toggles, at) + int(self._inside)) % 2 == 0]

    def _find_lone_returns(self, cut: int, toggles: Array) -> None:
        if b"\r" not in self._data:
            return
        at = np.flatnonzero(self._bytes[:cut] == _CR)
        after = np.append(self._bytes[1:], 0)[at]
        lone = self._outside(at[after != _LF], toggles)
        if len(lone):
            raise DataError(
                f"{self._place(int(lone[0]))}: a CR without LF, outside of quotes, which only some "
                "readers take for the end of a line. End lines with LF or CRLF, or quote the value."
            )

    def _count(self, cut: int, toggles: Array) -> None:
        """Count the records that end in a block."""
        ends = self._outside(np.flatnonzero(self._bytes[:cut] == _LF), toggles)
        if not len(ends):
            return
        lengths = np.diff(ends, prepend=self._last_end - self._offset) - 1
        # No CR comes before a block.
        blank = (lengths == 0) | ((lengths == 1) & (self._bytes[ends - 1] == _CR) & (ends > 0))
        self._records += len(ends) - int(blank.sum())
        self._longest = max(self._longest, int(lengths.max()))
        self._last_end = self._offset + int(ends[-1])
        if blank.any() and not self._special:
            self._special = (
                f"has blank lines (first line {self._line(int(ends[blank.argmax()])):,})"
            )

    def _line(self, at: int) -> int:
        return self._lines + self._data.count(b"\n", 0, at) + 1

    def _place(self, at: int) -> str:
        """Name the line of a byte of the block, with the text around it."""
        start = max(at - _AROUND, self._data.rfind(b"\n", 0, at) + 1)
        end = self._data.find(b"\n", at)
        text = self._data[start : min(at + _AROUND, end if end >= 0 else len(self._data))]
        shown = text.decode("utf-8", "replace").strip("\r\ufffd")
        return f"line {self._line(at):,}, at {shown if shown.isprintable() else repr(shown)}"

    def _advice(self) -> str:
        if self._dialect.escape is None:
            return (
                "Double a quote within a quoted value. If the file escapes it, set csv_escape "
                r'("\\" for a backslash); if it quotes no value, set csv_quote: null.'
            )
        return "Escape or double a quote within a quoted value."
