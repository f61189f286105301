"""What files hold, by Python's csv module and pyarrow: the first half of the oracle of inputs.

Neither polars nor the package's own code of data takes part.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "valid", "test")
# What an empty field is that stands within quotes: text without a character, and no number.
QUOTED_EMPTY = type("QuotedEmpty", (str,), {})("")
_MARK = "\ue000"


class NoReading(Exception):
    """There is no right reading of the files: they must be refused.

    Attributes:
        names: What the message must name.
    """

    def __init__(self, why: str, *names: str) -> None:
        super().__init__(why)
        self.names = names


@dataclass
class Table:
    """The rows of one file.

    Attributes:
        path: The file.
        columns: Values by column, as the file holds them; None where there is none.
        types: The kind of type that a parquet file gives a column.
    """

    path: Path
    columns: dict[str, list[Any]]
    types: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values()), []))


@dataclass
class Files:
    """What the files of a dataset hold.

    Attributes:
        splits: Tables of each split, in reading order.
        doubts: Why a refusal would be right, too.
        beside: Names next to the parts that a warning must mention.
    """

    splits: dict[str, list[Table]] = field(default_factory=dict)
    doubts: set[str] = field(default_factory=set)
    beside: set[str] = field(default_factory=set)


def read_files(dataset: Mapping[str, Any]) -> Files:
    """Read all files of a dataset.

    Args:
        dataset: The dataset config, its paths absolute.

    Returns:
        What they hold.

    Raises:
        NoReading: They are no csv or parquet files that can be read in one way.
    """
    found = Files()
    for split in SPLITS:
        paths = _paths(dataset[f"{split}_data"], dataset, found)
        tables = []
        for path in paths:
            read = _parquet if dataset.get("data_format") == "parquet" else _csv
            table = read(path, dataset, found)
            tables.append(_with_partitions(table, Path(dataset[f"{split}_data"]), found))
        found.splits[split] = tables
    return found


def _paths(given: str, dataset: Mapping[str, Any], found: Files) -> list[Path]:
    """Return the files that a path, folder or pattern stands for, in the order of their names."""
    endings = (".parquet",) if dataset.get("data_format") == "parquet" else CSV_ENDINGS
    path = Path(given)
    if path.is_file():
        if not given.endswith(endings):
            raise NoReading("its ending is of another format", path.name)
        return [path]
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if not _hidden(entry.name))
        parts = [name for name in names if name.endswith(endings) and (path / name).is_file()]
        others = [name for name in names if name not in parts]
        if not parts and any(_partition(name) for name in others):
            return sorted(
                p for p in path.rglob("*") if p.name.endswith(endings) and _shown(p, path)
            )
        if not parts:
            raise NoReading("a folder without parts", path.name)
        if len({_ending(name, endings) for name in parts}) > 1:
            found.doubts.add("parts of several endings")
        if others:
            found.doubts.add("other files next to the parts")
            found.beside.add(path.name)
        return [path / name for name in parts]
    if glob.has_magic(given):
        fixed = path
        while glob.has_magic(str(fixed)):
            fixed = fixed.parent
        paths = [Path(name) for name in sorted(glob.glob(given, recursive=True))]
        paths = [p for p in paths if _shown(p, fixed)]
        if paths:
            if any(not p.name.endswith(endings) for p in paths):
                found.doubts.add("a pattern that finds other endings")
            return paths
    raise NoReading("there is no such file", path.name)


CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def _ending(name: str, endings: tuple[str, ...]) -> str:
    return max((end for end in endings if name.endswith(end)), key=len)


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(_hidden(part) for part in path.relative_to(folder).parts)


def _partition(name: str) -> bool:
    return "=" in name.strip("=")


def _with_partitions(table: Table, root: Path, found: Files) -> Table:
    """Add the columns that the names of folders hold, such as ``day=1``."""
    if not root.is_dir():
        return table
    rows = table.rows
    for part in table.path.relative_to(root).parts[:-1]:
        if _partition(part):
            found.doubts.add("partitions")
            name, _, value = part.partition("=")
            table.columns.setdefault(name, [value] * rows)
    return table


def _parquet(path: Path, dataset: Mapping[str, Any], found: Files) -> Table:
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise NoReading(f"no parquet: {error}", path.name) from error
    names = table.column_names
    if len(set(names)) < len(names):
        raise NoReading("a column stands twice", path.name)
    types = {name: _kind(table.schema.field(name).type) for name in names}
    return Table(path, {name: table.column(name).to_pylist() for name in names}, types)


def _kind(type_: pa.DataType) -> str:
    """Return a name that types share of which the same values are the same text to everyone."""
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"list of {_kind(type_.value_type)}"
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_integer(type_):
        return "int"
    return str(type_).replace("large_", "").replace("string_view", "string")


def _csv(path: Path, dataset: Mapping[str, Any], found: Files) -> Table:
    content = path.read_bytes()
    if not content:
        raise NoReading("an empty file", path.name)
    if path.name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise NoReading(f"no gzip: {error}", path.name) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoReading(f"no UTF-8: {error}", path.name) from error
    records = records_of(text, dataset, found)
    if not records:
        raise NoReading("no header", path.name)
    header, rows = records[0], records[1:]
    if len(set(header)) < len(header):
        raise NoReading("the header names a column twice", path.name)
    for row in rows:
        if len(row) != len(header):
            raise NoReading("a row of another number of fields", path.name)
    nulls = set(dataset.get("null_values") or ())
    values: list[list[Any]] = [
        [
            None if value in nulls or (value == "" and value is not QUOTED_EMPTY) else value
            for value in row
        ]
        for row in rows
    ]
    columns = list(map(list, zip(*values, strict=True))) if values else [[] for _ in header]
    return Table(path, dict(zip(header, columns, strict=True)))


def records_of(text: str, dataset: Mapping[str, Any], found: Files) -> list[list[str]]:
    """Return the records of a csv file as the csv module reads them, without blank lines.

    A field that is empty within quotes is `QUOTED_EMPTY`.
    """
    options = _dialect(dataset)
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), **options))
    except csv.Error as error:
        raise NoReading(f"the csv module: {error}") from error
    try:
        list(csv.reader(io.StringIO(text, newline=""), **options, strict=True))
    except csv.Error:
        found.doubts.add("quotes that are not as RFC 4180 has them")
    if re.search("\r(?!\n)", text):
        found.doubts.add("a CR without LF")
    if options.get("quoting") != csv.QUOTE_NONE:
        records = _quoted_marked(text, records, options, found)
    kept = []
    for record in records:
        if len(record) == 1 and record[0].strip() == "" and record[0] is not QUOTED_EMPTY:
            found.doubts.add("lines of nothing but blanks")
        elif record:
            kept.append(record)
    return kept


def _dialect(dataset: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"delimiter": dataset.get("sep", ",")}
    if "csv_quote" in dataset:
        quote = dataset["csv_quote"]
        options |= {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    if dataset.get("csv_escape"):
        options["escapechar"] = dataset["csv_escape"]
    return options


def _quoted_marked(
    text: str, records: list[list[str]], options: Mapping[str, Any], found: Files
) -> list[list[str]]:
    """Put `QUOTED_EMPTY` where an empty field stands within quotes, which the csv module forgets."""
    quote, sep = re.escape(options.get("quotechar", '"')), re.escape(options["delimiter"])
    pattern = rf"(?:(?<=[\n\r{sep}])|\A){quote}{quote}(?=[\n\r{sep}]|\Z)"
    marked = re.sub(pattern, lambda _: f"{_MARK}", text)
    if marked == text:
        return records
    again = list(csv.reader(io.StringIO(marked, newline=""), **options))
    if [[value.replace(_MARK, "") for value in record] for record in again] != records:
        # Such quotes stand within a longer quoted field, too.
        found.doubts.add("empty quotes within quotes")
        return records
    return [[QUOTED_EMPTY if value == _MARK else value for value in record] for record in again]
