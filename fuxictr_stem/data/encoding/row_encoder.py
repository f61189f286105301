"""One encoder for caches, new files and scoring: rows with raw values to ids, as in training.

It is plain data: how each column is read, what missing values become, vocabularies, normalizers. It needs
neither a fitted processor of FuxiCTR's nor the preprocessing of FuxiCTR, torch or pandas.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem import registry
from fuxictr_stem.config.column_words import META
from fuxictr_stem.data.encoding.encoder_files import Fitted, read_encoder
from fuxictr_stem.data.encoding.frame_programs import Program, program, row_frame
from fuxictr_stem.data.encoding.value_encoders import (
    NotPlain,
    ValueEncoder,
    not_plain,
    value_encoder,
)
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.errors import ConfigError

_MOST_PROGRAMS = 64


class RowEncoder:
    """Raw rows to the arrays that a model reads; ``fitted`` is all its state."""

    def __init__(self, fitted: Fitted) -> None:
        self.fitted = fitted
        self._programs: dict[Any, Program] = {}
        self._rows: dict[tuple[str, ...], list[tuple[str, str, ValueEncoder]]] = {}
        self._plans: dict[tuple[str | None, ...], Plan] = {}
        self.names = list(fitted.by_name)  # the features

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

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of a feature's array."""
        words = self.fitted.words(name)
        if words is not None:
            return words.dtype
        return np.dtype(np.int64 if self.fitted.feature(name).kind == META else np.float32)

    def width(self, name: str) -> int:
        """Return the length of a row of a feature's array; 0 for one value per row."""
        return self.fitted.feature(name).width

    def unknown(self, name: str) -> int | None:
        """Return the id of values that are not in a feature's vocabulary, or None if it has none."""
        words = self.fitted.words(name)
        return None if words is None else int(words.unknown)

    def keys(self, name: str) -> tuple[pl.Series, Array]:
        """Return the tokens of a feature's vocabulary and their ids, without padding and unknown.

        Raises:
            ConfigError: The feature has no vocabulary.
        """
        words = self.fitted.words(name)
        if words is None:
            raise ConfigError(
                f"The {self.fitted.feature(name).kind} column {name!r} has no vocabulary."
            )
        return words.tokens, words.ids[:-1]

    def columns_needed(self, features: Collection[str], labels: Collection[str] = ()) -> list[str]:
        """Return the columns of a file that some features and labels are read from."""
        return list(dict.fromkeys(c.origin for c in self.plan(features, labels).in_files))

    def raw_columns(self, features: Collection[str]) -> list[dict[str, str]]:
        """Return what the columns are that some features are read from: ``name``, ``type``, ``dtype``."""
        columns = {c.origin: c for c in self.plan(features).in_files}
        return [{"name": n, "type": c.kind, "dtype": c.dtype} for n, c in columns.items()]

    def encode(
        self,
        frame: pl.DataFrame,
        features: Collection[str] | None = None,
        labels: Collection[str] = (),
    ) -> dict[str, Array]:
        """Encode the rows of a frame into some features, by default all, and labels.

        It holds the columns that are needed, in any order, and perhaps others.

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
        steps = self._programs.get(key)
        if steps is None:
            plan = self.plan(features, labels)
            steps = program(self.fitted, plan, features, labels, types, frame.columns)
            if len(self._programs) < _MOST_PROGRAMS:
                self._programs[key] = steps
        return steps.run(frame)

    def encode_row(
        self, values: Mapping[str, Any], features: Collection[str] | None = None
    ) -> dict[str, Array]:
        """Encode one row, as `encode` does, in a microsecond or two for each plain value.

        The values are by column, perhaps of other columns, too. By default all features are encoded.

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

    def _value_encoders(self, features: Collection[str]) -> list[tuple[str, str, ValueEncoder]]:
        """Return what encodes the values of a row: name, column, function."""
        if not self.fitted.plan.made.isdisjoint(features):
            # A function of columns takes them as columns.
            return [("", "", not_plain)]
        columns = {
            name: self.fitted.plan.source_of(name) for name in features if self.fitted.feature(name)
        }
        filled = [name for name, column in columns.items() if column.filled]
        nothing = pl.DataFrame({column: [None] for column in self.columns_needed(filled)})
        missing = self.encode(nothing, filled)
        encoders = []
        for name, column in columns.items():
            feature, words = self.fitted.feature(name), self.fitted.words(name)
            encode = value_encoder(feature, column, words, missing.get(name))
            encoders.append((name, column.origin, encode))
        return encoders

    def plan(self, features: Collection[str], labels: Collection[str] = ()) -> Plan:
        """Return the plan that reads some features and labels."""
        key = *features, None, *labels
        if key not in self._plans:
            for name in features:
                self.fitted.feature(name)
            self._plans[key] = self.fitted.plan.only(features, labels)
        return self._plans[key]


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
