"""One encoder for caches, new files and scoring: rows with raw values to ids, as in training.

It is plain data: how each column is read, what missing values become, vocabularies, normalizers. It needs
neither a fitted processor of FuxiCTR's nor the preprocessing of FuxiCTR, torch or pandas.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem import registry
from fuxictr_stem.config.column_words import CATEGORICAL, META, function_call
from fuxictr_stem.data.encoding.column_encoders import (
    Encoder,
    Feature,
    column_encoder,
    of_written_numbers,
    plain,
)
from fuxictr_stem.data.encoding.encode import encoded
from fuxictr_stem.data.encoding.encoder_files import Fitted, read_encoder, write_encoder
from fuxictr_stem.data.encoding.fill_steps import fill_steps, filled_frame
from fuxictr_stem.data.encoding.value_encoders import (
    NotPlain,
    ValueEncoder,
    not_plain,
    value_encoder,
)
from fuxictr_stem.data.encoding.vocabulary import Array, Vocabulary
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS, Plan
from fuxictr_stem.data.source.columns import KEPT, Column
from fuxictr_stem.data.source.dialect import dialect_for
from fuxictr_stem.data.source.files import file_format
from fuxictr_stem.data.source.frame_rows import frame_readings, refuse_faults, row_frame, unreadable
from fuxictr_stem.data.source.open_source import open_source, with_kinds
from fuxictr_stem.data.source.readings import Reading
from fuxictr_stem.data.source.split_files import HIDDEN, Source, whole_number, written_numbers
from fuxictr_stem.data.source.validate import check_source
from fuxictr_stem.errors import ConfigError, suggest

_FAULTY = f"{HIDDEN}faulty"
_MOST_PROGRAMS = 64
_ROWS = "data"


class Block(NamedTuple):
    """Some rows of files.

    Attributes:
        arrays: By feature: (rows,) or (rows, width).
        labels: By label: (rows,) float32, NaN where a row has none.
        kept: The columns that are carried along.
    """

    arrays: dict[str, Array]
    labels: dict[str, Array]
    kept: pl.DataFrame


class _Program(NamedTuple):
    """How frames of the same types are encoded: what to select, one after the other, and what then."""

    readings: list[Reading]
    selects: list[list[pl.Expr]]
    encoders: list[Encoder]


class RowEncoder:
    """Raw rows to the arrays that a model reads.

    Args:
        fitted: The state.

    Attributes:
        names: The features.
        labels: How the labels are read.
        group_id: Name of the column that groups rows for gAUC.
    """

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self._features = {feature.name: feature for feature in fitted.features}
        self._programs: dict[Any, _Program] = {}
        self._rows: dict[tuple[str, ...], list[tuple[str, str, ValueEncoder]]] = {}
        self._plans: dict[tuple[str | None, ...], Plan] = {}
        self.names = list(self._features)
        self.labels = [c for c in fitted.plan.columns if c.kind == "label"]
        self.group_id = fitted.plan.group_id

    @classmethod
    def of(
        cls, source: Source, features: list[Feature], vocabularies: list[Vocabulary]
    ) -> RowEncoder:
        """Return the encoder of a dataset that was just fitted.

        Args:
            source: The files.
            features: What fitting has found out.
            vocabularies: The vocabularies that these name.
        """
        calls = (function_call(c["preprocess"], c["name"]) for c in source.plan.derived)
        functions = {call[0]: registry.get_preprocess(call[0]).identity for call in calls if call}
        return cls(Fitted(with_kinds(source), features, vocabularies, functions))

    @classmethod
    def load(cls, folder: Path) -> RowEncoder:
        """Read an encoder from its folder.

        Raises:
            DataError: There is none, or a file is damaged, absent or of another version; it is named.
            ConfigError: A preprocess function is not installed, or is another one.
            AccessError: The system does not let a file be read.
        """
        fitted = read_encoder(folder)
        _check_functions(folder, fitted.functions)
        return cls(fitted)

    def save(self, folder: Path) -> None:
        """Write the encoder into a folder that nobody reads yet."""
        write_encoder(folder, self._fitted)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of a feature's array."""
        words = self._words(name)
        if words is not None:
            return words.dtype
        return np.dtype(np.int64 if self._feature(name).kind == META else np.float32)

    def width(self, name: str) -> int:
        """Return the length of a row of a feature's array; 0 for one value a row."""
        return self._feature(name).width

    def unknown(self, name: str) -> int | None:
        """Return the id of values that are not in a feature's vocabulary, or None if it has none."""
        words = self._words(name)
        return None if words is None else int(words.unknown)

    def keys(self, name: str) -> tuple[pl.Series, Array]:
        """Return the tokens of a feature's vocabulary and their ids, without padding and unknown.

        Raises:
            ConfigError: The feature has no vocabulary.
        """
        words = self._words(name)
        if words is None:
            raise ConfigError(f"The {self._feature(name).kind} column {name!r} has no vocabulary.")
        return words.tokens, words.ids[:-1]

    def columns_needed(self, features: Collection[str], labels: Collection[str] = ()) -> list[str]:
        """Return the columns of a file that some features and labels are read from."""
        return list(dict.fromkeys(c.origin for c in self._plan(features, labels).in_files))

    def raw_columns(self, features: Collection[str]) -> list[dict[str, str]]:
        """Return what the columns are that some features are read from: ``name``, ``type``, ``dtype``."""
        columns = {c.origin: c for c in self._plan(features).in_files}
        return [{"name": n, "type": c.kind, "dtype": c.dtype} for n, c in columns.items()]

    def encode(
        self,
        frame: pl.DataFrame,
        features: Collection[str] | None = None,
        labels: Collection[str] = (),
    ) -> dict[str, Array]:
        """Encode the rows of a frame.

        Args:
            frame: Holds the columns that are needed, in any order, and perhaps others.
            features: The features; all by default.
            labels: The labels to read.

        Returns:
            By feature: (rows,) or (rows, width); by label: (rows,) float32, NaN where a row has none.

        Raises:
            DataError: Columns are missing, of a type that cannot be read as in training, or hold
                values that they may not; all problems are named.
        """
        features = self.names if features is None else list(features)
        columns = self.columns_needed(features, labels)
        types = {name: frame.schema[name] for name in columns if name in frame.columns}
        # The categories of an Enum do not matter, and a frame may have its own.
        kinds = ((n, pl.Categorical() if isinstance(t, pl.Enum) else t) for n, t in types.items())
        key = (*features, None, *labels), tuple(kinds)
        program = self._programs.get(key)
        if program is None:
            program = self._compiled(features, labels, types, frame.columns)
            if len(self._programs) < _MOST_PROGRAMS:
                self._programs[key] = program
        try:
            block = frame
            for place, select in enumerate(program.selects):
                block = block.select(select)
                if not place and _FAULTY in block.columns and block[_FAULTY].any():
                    refuse_faults(frame, program.readings)
        except pl.exceptions.PolarsError as error:
            raise unreadable(error) from error
        return {e.name: e.finish(block[e.name]) for e in program.encoders}

    def encode_row(
        self, values: Mapping[str, Any], features: Collection[str] | None = None
    ) -> dict[str, Array]:
        """Encode one row, as `encode` does, in a microsecond or two for each plain value.

        Args:
            values: The values by column, perhaps of other columns, too.
            features: The features; all by default.

        Returns:
            By feature: (1,) or (1, width).

        Raises:
            DataError: As `encode`.
        """
        features = self.names if features is None else features
        key = tuple(features)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._value_encoders(features)
        try:
            return {name: encode(values[origin]) for name, origin, encode in row}
        except (KeyError, NotPlain):
            columns = self.columns_needed(features)
            return self.encode(row_frame(values, columns), features)

    def blocks(
        self,
        files: Sequence[Path],
        features: Collection[str],
        labels: Collection[str] = (),
        keep: Collection[str] = (),
        block_rows: int = BLOCK_ROWS,
        counted: Callable[[int], object] = lambda rows: None,
    ) -> Iterator[Block]:
        """Read and encode the rows of files, in their order and in bounded memory.

        CSV files are copied into a temporary folder first.

        Args:
            files: CSV or parquet files.
            features: The features to encode.
            labels: The labels to read.
            keep: Columns of the files to carry along. Those of a parquet file keep its types; those of a
                CSV file have their declared type, and are text where none is declared.
            block_rows: The most rows at a time.
            counted: Is called with the number of rows before the first of them.

        Raises:
            DataError: The files are not what training's were; all problems are named.
        """
        plan = self._plan(features, labels)
        data_format = file_format(files)
        declared = {c.origin: c.dtype for c in self._fitted.plan.in_files}
        kept = [
            Column(
                f"{HIDDEN}{KEPT} {name}",
                KEPT,
                declared.get(name, "str") if data_format == "csv" else "",
                name,
                null_values=plan.null_values,
            )
            for name in dict.fromkeys(keep)
        ]
        dialect = dialect_for(files, plan.dialect)
        columns = (*plan.columns, *kept)
        plan = replace(plan, data_format=data_format, dialect=dialect, columns=columns)
        scratch = Path(mkdtemp(prefix="fuxictr_stem-"))
        try:
            source, stats = check_source(open_source(plan, {_ROWS: list(files)}), scratch)
            rows, whole = stats[_ROWS].rows, source.whole_numbers()
            counted(rows)
            frame = filled_frame(plan, source.frame(_ROWS))
            fills = fill_steps(plan, {c.name: pl.col(c.name) for c in plan.columns}).fills
            encoders = self.column_encoders(features, rows, whole, fills)
            encoders += [plain(name, np.dtype(np.float32)) for name in labels]
            names = [column.name for column in kept]
            for arrays, block in encoded(source, frame, encoders, block_rows, kept=names):
                yield Block(
                    {name: arrays[name] for name in features},
                    {name: arrays[name] for name in labels},
                    block.select(pl.col(c.name).alias(c.origin) for c in kept),
                )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def column_encoders(
        self,
        features: Collection[str],
        rows: float,
        whole: Collection[str],
        fills: Mapping[str, Any],
    ) -> list[Encoder]:
        """Return the encoders of some features.

        Args:
            features: Their names.
            rows: About how many they will encode; inf if as many as in training.
            whole: The columns declared text of which there are the numbers, too.
            fills: What missing values become.
        """
        made = {col["name"] for col in self._fitted.plan.derived}
        encoders = []
        for name in features:
            feature, words = self._feature(name), self._words(name)
            column = "" if name in made else self._fitted.plan.source_of(name).name
            is_whole = column in whole and feature.kind in (CATEGORICAL, META)
            if is_whole and words is not None and not words.is_searched(rows):
                numbers = whole_number(column)
                encoders.append(of_written_numbers(feature, words, numbers, fills[name]))
            else:
                encoders.append(column_encoder(feature, words, rows))
        return encoders

    def _compiled(
        self,
        features: Collection[str],
        labels: Collection[str],
        types: Mapping[str, pl.DataType],
        names: Collection[str],
    ) -> _Program:
        plan = self._plan(features, labels)
        readings = frame_readings(plan, types, names)
        whole = written_numbers(plan, [types])
        read = {r.column.name: r.value for r in readings}
        read.update((name, read[name].fill_null(math.nan)) for name in labels)
        for reading in readings:
            if reading.column.name in whole:
                read[whole_number(reading.column.name)] = reading.raw.cast(pl.Int64)
        steps = fill_steps(plan, read)
        encoders = self.column_encoders(features, 0, whole, steps.fills)
        encoders += [plain(name, np.dtype(np.float32)) for name in labels]
        queries = [e.query(steps.values[e.reads]).alias(e.name) for e in encoders]
        selects = [*steps.before, queries]
        if faults := [fault.where for reading in readings for fault in reading.faults]:
            selects[0] = [*selects[0], pl.any_horizontal(faults).any().alias(_FAULTY)]
        return _Program(readings, selects, encoders)

    def _value_encoders(self, features: Collection[str]) -> list[tuple[str, str, ValueEncoder]]:
        """Return what encodes the values of a row: name, column, function."""
        made = {col["name"] for col in self._fitted.plan.derived}
        if not made.isdisjoint(features):
            # A function of columns takes them as columns.
            return [("", "", not_plain)]
        columns = {
            name: self._fitted.plan.source_of(name) for name in features if self._feature(name)
        }
        filled = [name for name, column in columns.items() if column.filled]
        nothing = pl.DataFrame({column: [None] for column in self.columns_needed(filled)})
        missing = self.encode(nothing, filled)
        return [
            (
                name,
                column.origin,
                value_encoder(self._feature(name), column, self._words(name), missing.get(name)),
            )
            for name, column in columns.items()
        ]

    def _plan(self, features: Collection[str], labels: Collection[str] = ()) -> Plan:
        key = *features, None, *labels
        if key not in self._plans:
            for name in features:
                self._feature(name)
            self._plans[key] = self._fitted.plan.only(features, labels)
        return self._plans[key]

    def _feature(self, name: str) -> Feature:
        if name not in self._features:
            raise ConfigError(f"There is no feature {name!r}.{suggest(name, self._features)}")
        return self._features[name]

    def _words(self, name: str) -> Vocabulary | None:
        place = self._feature(name).vocabulary
        return None if place is None else self._fitted.vocabularies[place]


def _check_functions(folder: Path, functions: Mapping[str, str]) -> None:
    """Reject preprocess functions that are not installed, or not those of training."""
    problems = []
    for name, identity in functions.items():
        try:
            now = registry.get_preprocess(name).identity
        except ConfigError as error:
            problems.append(str(error))
            continue
        if now != identity:
            problems.append(f"the preprocess function {name!r} was {identity}, and is {now} now.")
    if problems:
        advice = "Install the package that it was trained with."
        raise ConfigError(f"{folder}: {' '.join(problems)} {advice}")
