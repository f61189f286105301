"""Where a text file stops being UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from fuxictr_stem.data.source.dialect import open_bytes

_BLOCK = 1 << 24
_GZIP = b"\x1f\x8b"


def where_not_utf8(path: Path) -> str | None:
    """Return a sentence that names the first line which is not UTF-8, or what else the file is, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = 0
    with open_bytes(path) as file:
        while True:
            kept = len(decoder.getstate()[0])
            block = file.read(_BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                if lines == 0 and block.startswith(_GZIP):
                    return "it is gzipped, but its name does not say so. Rename it to end with .gz."
                # The decoder's own buffer stands before the block and holds no line end.
                before = block[: max(0, error.start - kept)]
                line = lines + before.count(b"\n") + 1
                return f"line {line:,} is not UTF-8 ({error.reason}). Save the file as UTF-8."
            if not block:
                return None
            lines += block.count(b"\n")
