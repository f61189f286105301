"""The raw rows that an export is tried on: as JSON in the manifest, and encoded for the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fuxictr_stem import results
from fuxictr_stem.errors import DataError, first_line
from fuxictr_stem.serving.run import Run

RawRow: TypeAlias = dict[str, Any]
"""A row's values by column, as JSON has them."""


def raw_rows(run: Run) -> list[RawRow]:
    """Return the raw rows that a run has kept.

    Raises:
        DataError: It has none, or their file is damaged.
    """
    path = run.folder / results.ROWS
    train_again = "Train the experiment again, without --resume."
    if not path.exists():
        raise DataError(
            f"{run.folder} has no {results.ROWS}, the raw rows that an export is checked with: the run "
            f"was made by an older version of fuxictr_stem, or its data files were gone. {train_again}"
        )
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read: {first_line(error)}. {train_again}") from error
    return [{name: _plain(value) for name, value in row.items()} for row in frame.to_dicts()]


def columns_of(run: Run, rows: Sequence[RawRow]) -> dict[str, Tensor]:
    """Return rows as a program gets them: ids in int64, numbers in float32."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    arrays = run.encoder.encode(frame, run.features)
    kinds = {name: np.float32 if a.dtype.kind == "f" else np.int64 for name, a in arrays.items()}
    return {name: torch.from_numpy(a.astype(kinds[name])) for name, a in arrays.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what has no place there becomes text, NaN is missing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
