"""What a run reports beside its metrics: FuxiCTR's line in a csv file, versions, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from datetime import datetime
from pathlib import Path

import fuxictr
import h5py
import numpy
import polars
import torch
from fuxictr.utils import print_to_list

import fuxictr_stem
from fuxictr_stem.models.evaluation import Predictions

GROUP = "group"


def append_csv_line(
    path: Path, expid: str, dataset_id: str, valid: dict[str, float], test: dict[str, float]
) -> None:
    """Append FuxiCTR's results line, in one write, so that concurrent runs do not mix."""
    line = (
        f" {datetime.now():%Y%m%d-%H%M%S},[command] python {' '.join(sys.argv)},[exp_id] {expid},"
        f"[dataset_id] {dataset_id},[train] N.A.,[val] {print_to_list(valid)},"
        f"[test] {print_to_list(test)}\n"
    )
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a split's labels and predictions, in the order of its rows.

    The columns are ``{label}``, NaN where the sample is not the task's, ``{label}_pred``, and ``group``,
    the encoded ``group_id``, where there is one.

    Args:
        path: The parquet file.
        predictions: What a pass over the split gave.
    """
    columns = {}
    for label, y_pred in predictions.y_pred.items():
        columns[label] = predictions.y_true[label].astype("float32")
        columns[f"{label}_pred"] = y_pred.astype("float32")
    if predictions.group_id is not None:
        columns[GROUP] = predictions.group_id
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    polars.DataFrame(columns).write_parquet(temporary)
    os.replace(temporary, path)


def versions() -> dict[str, str]:
    """Return the versions that a number depends on."""
    modules = (fuxictr_stem, fuxictr, torch, polars, numpy, h5py)
    found = {module.__name__: str(module.__version__) for module in modules}
    return {"python": platform.python_version(), **found}


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
