"""What an export is checked with: raw rows, which its manifest keeps, and the run's test split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fuxictr_stem import results
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.data.source.raw_columns import PLACES
from fuxictr_stem.errors import DataError, UserError, first_line
from fuxictr_stem.runtime.text_table import format_bytes, text_table
from fuxictr_stem.serving.evaluation_result import plain
from fuxictr_stem.serving.run import Run

logger = logging.getLogger(__name__)

RawRow: TypeAlias = dict[str, Any]
"""A row's values by column, as JSON has them."""


def raw_rows(run: Run) -> list[RawRow]:
    """Return the raw rows that a run has kept; DataError if it has none, or their file is damaged."""
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
    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dicts()]


def columns_of(run: Run, rows: Sequence[RawRow]) -> dict[str, Tensor]:
    """Return rows as a program gets them: ids in int64, numbers in float32."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    arrays = run.encoder.encode(frame, run.features)
    kinds = {name: np.float32 if a.dtype.kind == "f" else np.int64 for name, a in arrays.items()}
    return {name: torch.from_numpy(a.astype(kinds[name])) for name, a in arrays.items()}


def test_metrics(run: Run) -> Mapping[str, float] | None:
    """Return a run's metrics on its test split, or None where its files are gone or were changed."""
    try:
        places = pl.read_parquet_metadata(run.folder / results.ROWS)
        dataset = {**run.params, **{key: places[key] for key in PLACES if key in places}}
        files = find_files(dataset)
        result = results.read(run.folder) or {}
        if "test" not in files or fingerprint(dataset, files) != result["settings"].get("data"):
            return None
        return run.evaluate(files["test"])
    except (UserError, OSError, KeyError) as error:
        logger.debug("No test metrics: %s", error)
        return None


def change_report(
    sizes: Mapping[str, tuple[int, int]],
    before: Mapping[str, float] | None,
    now: Mapping[str, float] | None,
) -> str:
    """Return what smaller weights save and cost: bytes, and the change of each test metric, if known.

    ``sizes`` are the bytes in float32 and as they are stored, by what it is.
    """
    lines = [
        f"{what}: {format_bytes(float32)} in float32, {format_bytes(stored)} in the export."
        for what, (float32, stored) in sizes.items()
    ]
    if before is None or now is None:
        lines.append("The test split is gone or was changed, so metrics are not compared.")
    else:
        rows = [["test", "run", "export", "change"]]
        for name, value in before.items():
            change = now[name] - value
            rows.append([name, f"{value:.6f}", f"{now[name]:.6f}", f"{change:+.2e}"])
        lines.append(text_table(rows))
    return "\n".join(lines)
