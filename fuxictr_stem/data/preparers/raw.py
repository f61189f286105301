"""Official raw files, plain or gzipped: read in blocks, with errors that name file and row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from fuxictr_stem.data.source.csv_shape import csv_shape
from fuxictr_stem.data.source.dialect import UNREADABLE, Dialect, open_bytes
from fuxictr_stem.errors import DataError, short, suggest
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.progress import track
from fuxictr_stem.runtime.read_ahead import ahead

_BLOCK_BYTES = 1 << 22
_ADVICE = (
    "The file is damaged or incomplete. Compare its size with the source's; download it again."
)


class Rule(NamedTuple):
    """What every value of a column must be: in words, after "must be", and true where it is."""

    column: str
    words: str
    kept: pl.Expr


class RawFile:
    """A raw file, gzipped where it ends in .gz, whose first line and number of rows are known.

    Columns in ``integers`` are int64 and never empty. All others keep their text as it is in the
    file, so that an id like ``1.0`` stays ``1.0``; an empty field is a null. ``others`` must be there, too.
    ``names`` are those of the columns of a file without a header, which has no quotes either.

    A file that is empty, lacks a column, or has quotes that readers take differently is a DataError.
    """

    def __init__(
        self,
        path: Path,
        integers: Sequence[str],
        others: Sequence[str] = (),
        names: Sequence[str] | None = None,
        separator: str = ",",
    ) -> None:
        self.path, self._integers, self._separator = path, integers, separator
        self._header_rows = 1 if names is None else 0
        with self._explained():
            first = self._first_line()
            self.columns = list(names or next(csv.reader([first], delimiter=separator)))
            if names is not None:
                if (fields := first.count(separator) + 1) != len(names):
                    raise DataError(
                        f"{path}, row 1: expected {len(names)} columns ({', '.join(names)}) with "
                        f"{separator!r} between them, found {fields}. Is this the official file?"
                    )
                self.rows = self._count_lines()
            else:
                self._check_header([*integers, *others])
                self.rows = self._count_records()

    def blocks(
        self, columns: Sequence[str] = (), doing: str = "Splitting", rules: Sequence[Rule] = ()
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows, of some columns or all, in blocks of some megabytes, in file order.

        ``doing`` is shown with the progress.

        Raises:
            DataError: The file is ragged, cut off, without any row or being written to, or holds text for a
                number; or values break a rule, all of them in one message.
        """
        title = f"{doing} {self.path.name}"
        blocks = track(ahead(self._read(columns or self.columns)), title, self.rows)
        counts: Counter[str] = Counter()
        first: dict[str, str] = {}
        row = self._header_rows + 1
        for block in blocks:
            for column, _, kept in rules:
                broken = block.select((~kept).fill_null(True)).to_series()
                if broken.any() and column not in first:
                    at = int(broken.arg_max() or 0)
                    first[column] = f"{short(block[column][at])} in row {row + at:,}"
                counts[column] += int(broken.sum())
            row += block.height
            if not first:
                yield block
        problems = [
            f"{self.path}: {column} must be {words}; {counts[column]:,} of {self.rows:,} rows hold "
            f"something else, first {first[column]}."
            for column, words, _ in rules
            if column in first
        ]
        if problems:
            raise DataError("\n".join([*problems, _ADVICE]))

    def _read(self, columns: Sequence[str]) -> Generator[pl.DataFrame]:
        integers = [name for name in columns if name in self._integers]
        types = {name: pa.int64() if name in integers else pa.string() for name in columns}
        rows = 0
        with self._explained(lambda: f", after {rows:,} good rows"):
            reader = pacsv.open_csv(
                self.path,
                # One thread parses as fast here and lets pyarrow say which row is at fault.
                read_options=pacsv.ReadOptions(
                    column_names=None if self._header_rows else self.columns,
                    block_size=_BLOCK_BYTES,
                    use_threads=False,
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self._separator,
                    quote_char='"' if self._header_rows else False,
                    ignore_empty_lines=False,
                    newlines_in_values=bool(self._header_rows),
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types=types,
                    include_columns=columns,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                block = pl.DataFrame(pl.from_arrow(batch))
                for name in integers:
                    if block[name].null_count():
                        at = rows + self._header_rows + int(block[name].is_null().arg_max() or 0)
                        raise self._damaged(f", row {at + 1:,}: {name} is empty")
                rows += block.height
                if rows > self.rows:
                    break
                yield block
        if not rows:
            raise self._damaged(": the file has a header and no rows")
        if rows != self.rows:
            raise DataError(
                f"{self.path}: {self.rows:,} rows were counted and {rows:,} read. Is the file being "
                "written to?"
            )

    @contextmanager
    def _explained(self, where: Callable[[], str] = str) -> Iterator[None]:
        """Turn what reading raises into an error that names the file."""
        try:
            yield
        except UnicodeDecodeError as error:
            raise self._damaged(f": the first line is not text ({error})") from error
        except csv.Error as error:
            raise self._damaged(f": the first line names no columns ({error})") from error
        except (pa.ArrowException, *UNREADABLE) as error:
            check_access(self.path, error)
            text = " ".join(str(error).split())[:300]
            raise self._damaged(f"{where()}: {text}") from error

    def _damaged(self, text: str) -> DataError:
        return DataError(f"{self.path}{text}. {_ADVICE}")

    def _first_line(self) -> str:
        with open_bytes(self.path) as file:
            line = file.readline(1 << 16)
        if not line:
            raise self._damaged(": the file is empty")
        return line.rstrip(b"\r\n").decode("utf-8-sig")

    def _count_lines(self) -> int:
        """Return the number of lines, a last one without line end included."""
        lines, last = 0, b"\n"
        with open_bytes(self.path) as file:
            while block := file.read(1 << 24):
                lines += block.count(b"\n")
                last = block[-1:]
        return lines + (last != b"\n")

    def _count_records(self) -> int:
        try:
            return csv_shape(self.path, Dialect(self._separator)).records - 1
        except DataError as error:
            raise DataError(f"{self.path}, {error} {_ADVICE}") from error

    def _check_header(self, needed: Sequence[str]) -> None:
        missing = [name for name in dict.fromkeys(needed) if name not in self.columns]
        if missing:
            raise DataError(
                f"{self.path}: the first line names the columns, and some are missing: "
                + " ".join(f"{name!r}.{suggest(name, self.columns)}" for name in missing)
                + f" Found: {', '.join(self.columns)}."
            )
        twice = [name for name, count in Counter(self.columns).items() if count > 1]
        if twice:
            raise DataError(f"{self.path}: the first line names {', '.join(twice)} more than once.")
