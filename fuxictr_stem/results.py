"""What a run reports beside its metrics: FuxiCTR's line in a csv file, versions, memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from fuxictr.utils import print_to_list

import fuxictr_stem


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


def versions() -> dict[str, str]:
    """Return the versions that a number depends on."""
    packages = ["fuxictr", "torch", "polars", "numpy", "h5py"]
    return {
        "fuxictr_stem": fuxictr_stem.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
