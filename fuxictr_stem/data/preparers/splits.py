"""Writing the three split files, counting what goes into them, and the table printed at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from fuxictr_stem.errors import DataError, OutputError

SPLITS = ("train", "valid", "test")
TRAIN, VALID, TEST = range(3)


class SplitWriter:
    """Writes rows, block by block, into one CSV file per split.

    Values with commas or quotes are quoted; an absent value is an empty field.

    Args:
        paths: The file of each split.
        labels: The columns whose positives are counted.

    Raises:
        DataError: On leaving the ``with`` block, when a split has no row at all.
        OutputError: A file cannot be written.
    """

    def __init__(self, paths: dict[str, Path], labels: Sequence[str]) -> None:
        self.paths = paths
        self.labels = list(labels)
        self.rows = dict.fromkeys(SPLITS, 0)
        self.positives = {split: dict.fromkeys(self.labels, 0) for split in SPLITS}
        self.binary = dict.fromkeys(self.labels, True)
        self._files: dict[str, BinaryIO] = {}
        self._columns: list[str] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> SplitWriter:
        """Open the files."""
        try:
            for split in SPLITS:
                self._files[split] = self._stack.enter_context(open(self.paths[split], "wb"))
        except OSError as error:
            self._stack.close()
            raise OutputError(f"Cannot write a split file: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files, on disk for good when all went well."""
        with self._stack:
            if kind is not None:
                return
            empty = [split for split in SPLITS if self.rows[split] == 0]
            if empty:
                counts = ", ".join(f"{split} {self.rows[split]:,}" for split in SPLITS)
                raise DataError(
                    f"No row falls into {' and '.join(empty)} (rows: {counts}). The raw file is "
                    "too small, or the options of `prepare` leave nothing for it."
                )
            try:
                for file in self._files.values():
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as problem:
                raise OutputError(f"Cannot write a split file: {problem}") from problem

    def write(self, frame: pl.DataFrame, membership: np.ndarray) -> None:
        """Append a block of rows.

        Args:
            frame: The rows, with the same columns in every call.
            membership: For each row `TRAIN`, `VALID` or `TEST`.
        """
        if self._columns is None:
            self._check_labels(frame.columns)
            self._columns = frame.columns
            for file in self._files.values():
                self._to_csv(frame.head(0), file, header=True)
        assert frame.columns == self._columns, "blocks of one data set must have the same columns"
        for code, split in enumerate(SPLITS):
            part = frame.filter(membership == code)
            self._to_csv(part, self._files[split], header=False)
            self._count(part, split)

    def _check_labels(self, columns: list[str]) -> None:
        missing = [label for label in self.labels if label not in columns]
        if missing:
            raise DataError(
                f"label_col: {', '.join(missing)} is not among the columns of the raw files "
                f"({', '.join(columns)})."
            )

    def _count(self, part: pl.DataFrame, split: str) -> None:
        self.rows[split] += part.height
        for label in self.labels:
            positive = int((part[label] == 1).sum())
            negative = int((part[label] == 0).sum())
            self.positives[split][label] += positive
            self.binary[label] &= positive + negative == part.height

    @staticmethod
    def _to_csv(part: pl.DataFrame, file: BinaryIO, header: bool) -> None:
        if part.height == 0 and not header:
            return
        try:
            part.write_csv(file, include_header=header)
        except (OSError, pl.exceptions.ComputeError) as error:
            raise OutputError(f"Cannot write {file.name}: {error}") from error


def summary(writer: SplitWriter, source: dict[str, Any]) -> str:
    """Return an aligned table: rows and positive rates, measured against the published ones.

    Args:
        writer: The writer that wrote the splits.
        source: The dataset config's facts; ``rows.{raw,train,valid,test}`` and
            ``positive_rate.{label}`` are used where given.
    """
    published_rows = source.get("rows") or {}
    published_rate = source.get("positive_rate") or {}
    total = sum(writer.rows.values())
    table = [["split", "rows", "published", *writer.labels]]
    for split in SPLITS:
        table.append(
            [split, f"{writer.rows[split]:,}", _rows(published_rows.get(split))]
            + [
                _rate(writer, label, writer.positives[split][label], writer.rows[split])
                for label in writer.labels
            ]
        )
    table.append(
        ["all", f"{total:,}", _rows(published_rows.get("raw"))]
        + [
            _rate(writer, label, sum(part[label] for part in writer.positives.values()), total)
            for label in writer.labels
        ]
    )
    table.append(
        ["published", "", ""]
        + [
            f"{published_rate[label]:.4f}" if _number(published_rate.get(label)) else "-"
            for label in writer.labels
        ]
    )
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rows(value: Any) -> str:
    return f"{value:,}" if _number(value) else "-" if value is None else str(value)


def _rate(writer: SplitWriter, label: str, positives: int, rows: int) -> str:
    return f"{positives / rows:.4f}" if writer.binary[label] else "not 0/1"
