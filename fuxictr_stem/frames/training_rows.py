"""The rows to train on, as files: data frames are written as parquet, files stay where they are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import polars as pl

from fuxictr_stem.data.source.column_plan import BLOCK_ROWS
from fuxictr_stem.data.source.dialect import dialect_of
from fuxictr_stem.data.source.files import ENDINGS, SPLITS, find_files
from fuxictr_stem.errors import DataError, OutputError, first_line, short
from fuxictr_stem.runtime.outputs import sync, temporary_name
from fuxictr_stem.runtime.whole_folder import file_digest, fresh_folder, put_in_place
from fuxictr_stem.serving.rows_to_score import as_polars, is_pandas

# The most rows of a CSV file by which the types of its columns are guessed.
_SEEN = 100_000
# The time that polars needs for a query grows with the square of its expressions.
_TOGETHER = 500


def one_row(frame: pl.LazyFrame, figures: Sequence[pl.Expr]) -> list[Any]:
    """Return figures of the rows of a frame, in one pass over it for some hundreds of them."""
    parts = (figures[i : i + _TOGETHER] for i in range(0, len(figures), _TOGETHER))
    rows = (frame.select(part).collect(engine="streaming").row(0) for part in parts)
    return [value for row in rows for value in row]


class Splits(NamedTuple):
    """The files of each split."""

    paths: dict[str, str]  # by split, as a config names them
    data_format: str  # ``csv`` or ``parquet``
    frames: dict[str, pl.LazyFrame]  # by split, the rows, to be read lazily

    def count(self, split: str) -> int:
        """Return the number of rows of a split."""
        return self.frames[split].select(pl.len()).collect(engine="streaming").item()


def is_path(rows: Any) -> bool:
    """Say whether rows are given as a path."""
    return isinstance(rows, (str, os.PathLike))


def kind_problems(rows: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is neither a data frame nor a path, or that there are some of each."""
    kinds = (pd.DataFrame, pl.DataFrame, pl.LazyFrame)
    paths = [split for split, value in rows.items() if is_path(value)]
    others = [split for split in rows if split not in paths]
    wrong = [split for split in others if not isinstance(rows[split], kinds)]
    for split in wrong:
        yield (
            f"{split}: must be a pandas or polars data frame, or a path of csv or parquet files, found "
            f"{type(rows[split]).__name__} {short(rows[split])}."
        )
    if paths and others and not wrong:
        yield f"{', '.join(paths)}: a path, but others are data frames. Give frames only, or paths only."


def column_names(split: str, rows: Any) -> list[str]:
    """Return the names of the columns of a split's frame.

    Raises:
        DataError: A name is no text, a pattern of polars, or there twice; or a lazy frame has no columns.
    """
    try:
        lazy = isinstance(rows, pl.LazyFrame)
        names = rows.collect_schema().names() if lazy else list(rows.columns)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{split}: the lazy frame fails: {first_line(error)}") from error
    odd = [f"{short(name)} is not text" for name in names if not isinstance(name, str)]
    odd += [
        f"{name!r} would be read as a pattern by polars"
        for name in names
        if name == "*" or str(name).startswith("^") and str(name).endswith("$")
    ]
    odd += [f"{name!r} appears twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if odd:
        raise DataError(f"{split}: names of columns: {'; '.join(odd)}. Rename them.")
    return names


def of_files(
    rows: Mapping[str, Any],
    settings: Mapping[str, Any],
    types: Mapping[str, pl.DataType] | None = None,
) -> Splits:
    """Return splits that are files already, by their paths.

    ``settings`` say how CSV files are written, as a dataset config does; ``types`` are those of all columns
    of CSV files, in order, or None to guess them by the first rows.

    Raises:
        DataError: A file is absent, or they are of several formats, or cannot be read.
    """
    paths = {split: os.path.abspath(path) for split, path in rows.items()}
    formats = {split: _format_of(path) for split, path in paths.items()}
    if len(set(formats.values())) > 1:
        raise DataError(f"The files must be of one format, found {formats}. Convert the others.")
    data_format = formats["train"]
    named = {f"{split}_data": path for split, path in paths.items()}
    files = find_files({"dataset_id": "", "data_format": data_format, "feature_cols": [], **named})
    frames = {}
    for split, parts in files.items():
        try:
            if data_format == "parquet":
                frames[split] = pl.scan_parquet(parts, glob=False)
            else:
                dialect = dialect_of(settings)
                frames[split] = pl.scan_csv(
                    parts,
                    glob=False,
                    separator=dialect.sep,
                    quote_char=dialect.quote,
                    null_values=list(settings.get("null_values") or ()),
                    schema=types,
                    infer_schema_length=_SEEN,
                )
            frames[split].collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{paths[split]} cannot be read: {first_line(error)}") from error
    return Splits(paths, data_format, frames)


def _format_of(path: str) -> str:
    """Return the format that a path's ending, or what is in a folder, says; parquet if neither does."""
    names = [path]
    if os.path.isdir(path):
        names = [name for _, _, inside in os.walk(path) for name in inside]
    endings = ENDINGS["csv"]
    return "csv" if any(name.endswith(endings) for name in names) else "parquet"


def write(rows: Mapping[str, Any], columns: Collection[str], folder: Path) -> Splits:
    """Write columns of the splits' frames as parquet files, into a folder named by its content.

    That folder is in ``folder``. Columns that a frame lacks are left out.

    Raises:
        DataError: A column holds what no column of a file can, or a frame has no rows.
        OutputError: The files cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with fresh_folder(folder / "splits") as fresh:
            for split, frame in rows.items():
                _write(split, frame, columns, fresh / f"{split}.parquet")
            place = folder / _content(fresh)
            if not place.is_dir() or _content(place) != place.name:
                replace_folder(fresh, place)
    except OSError as error:
        raise OutputError(
            f"out: the rows cannot be written to {folder}: {error}. Free some space there, or choose "
            "another out."
        ) from error
    paths = {split: str(place / f"{split}.parquet") for split in rows}
    frames = {split: pl.scan_parquet(path, glob=False) for split, path in paths.items()}
    return Splits(paths, "parquet", frames)


def replace_folder(fresh: Path, place: Path) -> None:
    """Have a new folder take the place of the one before, if there is one, or raise `OutputError`."""
    before = temporary_name(place)
    try:
        # First, so that the place is empty for a moment only.
        sync(fresh)
        if place.exists():
            place.rename(before)
        put_in_place(fresh, place)
    except OSError as error:
        raise OutputError(
            f"out: {place} cannot be written: {error}. Free some space there, or choose another out."
        ) from error
    shutil.rmtree(before, ignore_errors=True)


def _write(split: str, rows: Any, columns: Collection[str], path: Path) -> None:
    names = [name for name in column_names(split, rows) if name in columns]
    try:
        frame = as_polars(rows, names).lazy() if is_pandas(rows) else rows.lazy().select(names)
    except DataError as error:
        raise DataError(f"{split}: {error}") from error
    types = frame.collect_schema()
    # A missing number is NaN in pandas, and often in polars, too.
    floats = [pl.col(name).fill_nan(None) for name, have in types.items() if have.is_float()]
    kinds = (pl.Categorical, pl.Enum)
    texts = [
        pl.col(name).cast(pl.String) for name, have in types.items() if isinstance(have, kinds)
    ]
    try:
        frame.with_columns(*floats, *texts).sink_parquet(
            path, compression="lz4", row_group_size=BLOCK_ROWS, maintain_order=True
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{split}: the rows cannot be written as parquet: {first_line(error)}"
        ) from error


def _content(folder: Path) -> str:
    """Return a short name of what split files hold."""
    files = [folder / f"{split}.parquet" for split in SPLITS]
    digests = [file_digest(file) if file.is_file() else "" for file in files]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]
