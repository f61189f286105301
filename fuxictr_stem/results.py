"""What a run reports beside its metrics: FuxiCTR's line in a csv file, versions, memory."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import resource
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import fuxictr
import h5py
import numpy
import polars
import torch
from fuxictr.utils import print_to_list

import fuxictr_stem
from fuxictr_stem.access import check_access
from fuxictr_stem.config.decisive import as_json
from fuxictr_stem.config.experiment import GROUP
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.models.evaluation import Predictions
from fuxictr_stem.outputs import replacing


def append_csv_line(
    path: Path, expid: str, dataset_id: str, valid: dict[str, float], test: dict[str, float]
) -> None:
    """Append FuxiCTR's results line: whole or not at all, also when several runs append at once.

    Raises:
        OutputError: The line cannot be written; the file is as it was.
    """
    line = (
        f" {datetime.now():%Y%m%d-%H%M%S},[command] python {' '.join(sys.argv)},[exp_id] {expid},"
        f"[dataset_id] {dataset_id},[train] N.A.,[val] {print_to_list(valid)},"
        f"[test] {print_to_list(test)}\n"
    )
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # Where a file system has no locks, the one write of O_APPEND still keeps lines apart.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # An argument that is no UTF-8 came in by surrogates.
            _append(handle, line.encode("utf-8", "surrogateescape"))
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(
            f"The file {path} did not take the line of {expid} ({error}): {line.strip()}\n"
            "Free some space there; with --resume the run goes on to write it."
        ) from error


def _append(handle: int, line: bytes) -> None:
    """Append a line to an open file; leave nothing of it where the disk gets full."""
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        # A killed run left the beginning of a line.
        line = b"\n" + line
    written = 0
    try:
        while written < len(line):
            written += os.write(handle, line[written:])
        os.fsync(handle)
    except OSError:
        if written and os.fstat(handle).st_size == size + written:
            os.ftruncate(handle, size)
        raise


def write_predictions(
    path: Path, predictions: Predictions, beside: Iterable[polars.DataFrame] | None = None
) -> None:
    """Write a split's labels and predictions, in the order of its rows.

    The columns are ``{label}``, NaN where the sample is not the task's, ``{label}_pred``, and ``group``,
    the ``group_id`` as the metrics number it, where there is one; then those beside them.

    Args:
        path: The parquet file.
        predictions: What a pass over the split gave.
        beside: More columns of the same rows, block by block.

    Raises:
        DataError: There are other rows beside them.
        OutputError: The file cannot be written.
    """
    columns = {}
    for label, y_pred in predictions.y_pred.items():
        columns[label] = predictions.y_true[label].astype("float32")
        columns[f"{label}_pred"] = y_pred.astype("float32")
    if predictions.group_id is not None:
        columns[GROUP] = predictions.group_id
    frame = polars.DataFrame(columns)
    with replacing(path, polars.exceptions.PolarsError) as temporary:
        if beside is None:
            frame.write_parquet(temporary)
        else:
            _write_joined(temporary, frame, beside)


def _write_joined(path: Path, frame: polars.DataFrame, beside: Iterable[polars.DataFrame]) -> None:
    """Write a table and what is beside it, a block at a time."""
    from pyarrow import parquet

    rows = 0
    with ExitStack() as stack:
        writer = None
        for block in beside:
            part = frame.slice(rows, block.height)
            rows += block.height
            if part.height < block.height:
                break
            table = part.hstack(block).to_arrow(compat_level=polars.CompatLevel.oldest())
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)
    if rows != frame.height:
        raise DataError(
            f"{path.name}: {frame.height:,} rows were predicted, but the source files have "
            f"{'at least ' if rows > frame.height else ''}{rows:,}: they changed meanwhile. Put them "
            "back; --resume then goes on."
        )


# Where things are and what is shown: a run may go on with others.
NO_SETTINGS = (
    "data_root",
    "debug_mode",
    "file_locks",
    "gpu",
    "memory_budget",
    "model_root",
    "num_workers",
    "pickle_feature_encoder",
    "prediction_columns",
    "prepare",
    "save_predictions",
    "source",
    "state_minutes",
    "state_steps",
    "states_kept",
    "test_data",
    "train_data",
    "valid_data",
    "verbose",
)

_NEEDED = {"dataset_id": str, "valid": dict, "test": dict, "stand_in": bool, "settings": dict}


def settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's result depends on besides the data and the software."""
    device = "cuda" if params["gpu"] >= 0 else "cpu"
    chosen = {key: value for key, value in params.items() if key not in NO_SETTINGS}
    found: dict[str, Any] = as_json({**chosen, "device": device})
    return found


def read(folder: Path) -> dict[str, Any] | None:
    """Return a finished run's ``result.json``, or None where there is none."""
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(found[key], kind) for key, kind in _NEEDED.items()):
            raise ValueError("it has other values")
        return dict(found)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        check_access(path, error)
        raise DataError(
            f"{path} is not the whole result of a run ({type(error).__name__}: {error}). Remove it, and "
            f"run again with --resume."
        ) from error


def versions() -> dict[str, str]:
    """Return the versions that a number depends on."""
    modules = (fuxictr_stem, fuxictr, torch, polars, numpy, h5py)
    found = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), **found}


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
