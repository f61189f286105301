"""What a finished run leaves: ``result.json``, ``run.json``, a table, and FuxiCTR's line in a csv file."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from fuxictr.features import FeatureMap
from fuxictr.utils import Monitor, print_to_list

from fuxictr_stem.config.result_settings import NO_SETTINGS, as_json
from fuxictr_stem.data.cache.open_cache import FEATURE_MAP, load_feature_map
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.runtime.logs import tell
from fuxictr_stem.runtime.outputs import write_json
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.runtime.whole_folder import (
    Damaged,
    OtherFormat,
    check_files,
    read_account,
    sealed,
)
from fuxictr_stem.training.state_folders import TrainingStates

RESULT, RUN, WEIGHTS = "result.json", "run.json", "model.safetensors"
STATES = "states"
"""The folder of its training states, while it trains."""

ROWS = "sample_rows.parquet"
"""Some raw rows, on which an export is tried."""

_RUN_FORMAT = 1
_SEALED = (WEIGHTS, FEATURE_MAP)


def result_table(result: Mapping[str, Any]) -> str:
    """Return the metrics of a finished run: a row for each split and task, a column for each metric.

    Args:
        result: By split, ``{label}_{metric}`` of each task and the tasks' means by metric.

    Example:
        >>> print(result_table({"valid": {}, "test": {"like_AUC": 0.75, "AUC": 0.75}}))
        split  task       AUC
        test   like  0.750000
    """
    names = [name for name in result["test"] or result["valid"] if name in METRICS]
    rows = [["split", "task", *names]]
    for split, values in (("valid", result["valid"]), ("test", result["test"])):
        ends = [(key, f"_{name}") for key in values for name in names]
        labels = dict.fromkeys(key.removesuffix(end) for key, end in ends if key.endswith(end))
        prefixes = {label: f"{label}_" for label in labels}
        if len(labels) > 1:
            prefixes["mean"] = ""
        for task, prefix in prefixes.items():
            cells = [values.get(f"{prefix}{name}") for name in names]
            rows.append([split, task, *("-" if cell is None else f"{cell:.6f}" for cell in cells)])
    return text_table(rows, left=2)


def show(result: Mapping[str, Any]) -> None:
    """Print the metrics of a finished run; a console that is full ends no run, whose files have them."""
    with suppress(OutputError):
        tell(result_table(result))


def summary(result: Mapping[str, Any]) -> str:
    """Return which epoch was best, of how many, and how long the run took."""
    settings, best = result["settings"], None
    monitor, sign = Monitor(settings["monitor"]), 1 if settings["monitor_mode"] == "max" else -1
    for evaluation in result["evaluations"]:
        value = monitor.get_value(evaluation["valid"])
        # FuxiCTR's early stopping takes no smaller improvement for one.
        if best is None or sign * (value - best[0]) >= 1e-6:
            best = value, evaluation["epoch"], evaluation["step"]
    parts = ", ".join(f"{name} {value:,.1f}" for name, value in result["seconds"].items())
    value, epoch, step = best or (float("nan"), 0, 0)
    return (
        f"Best epoch {epoch} of {result['epochs']} (step {step:,}, monitor {value:.6f}); "
        f"{sum(result['seconds'].values()):,.1f} s: {parts}"
    )


def append_csv_line(
    path: Path, expid: str, dataset_id: str, valid: dict[str, float], test: dict[str, float]
) -> None:
    """Append FuxiCTR's results line: whole or not at all, also when several runs append at once.

    Where it cannot be written, an `OutputError` leaves the file as it was.
    """
    line = (
        f" {datetime.now():%Y%m%d-%H%M%S},[command] python {' '.join(sys.argv)},[exp_id] {expid},"
        f"[dataset_id] {dataset_id},[train] N.A.,[val] {print_to_list(valid)},"
        f"[test] {print_to_list(test)}\n"
    )
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
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
            f"The results of {expid} could not be appended to {path} ({error}): {line.strip()}\n"
            "Free some space there, and run again with --resume, which writes them."
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


_FORM = {"dataset_id": str, "valid": dict, "test": dict, "stand_in": bool, "settings": dict}


def read(folder: Path) -> dict[str, Any] | None:
    """Return a finished run's ``result.json``, or None where there is none.

    Raises:
        DataError: The file is not a complete result.
        AccessError: The system does not let it be read now.
    """
    path = folder / RESULT
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(result[key], kind) for key, kind in _FORM.items()):
            raise ValueError("it has other values")
        return dict(result)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        check_access(path, error)
        raise DataError(
            f"{path} is not the complete result of a run ({type(error).__name__}: {error}). Remove "
            "it, and run again with --resume."
        ) from error


def last_account(folder: Path) -> dict[str, Any] | None:
    """Return a run's result, or the content of its newest state; None where it has neither."""
    return read(folder) or TrainingStates(folder / STATES, kept=1).newest_account()


def write_run(folder: Path, params: Mapping[str, Any], versions: Mapping[str, str]) -> None:
    """Write ``run.json``: the checked parameters that rebuild the model, and the digests of its files."""
    settings = {key: value for key, value in params.items() if key not in NO_SETTINGS}
    content = {"format": _RUN_FORMAT, "versions": dict(versions), "params": as_json(settings)}
    write_json(folder / RUN, sealed(content, [folder / name for name in _SEALED]))


def read_run(folder: Path) -> dict[str, Any]:
    """Return the parameters that `write_run` has written, of a model whose files are whole.

    A DataError names the file that is absent, damaged or of another version.
    """
    train_again = "Train the experiment again, without --resume."
    if not (folder / RUN).exists():
        raise DataError(
            f"{folder} has no {RUN}: it was written by an older version of fuxictr_stem, or its model "
            f"is from another package, and only that package can read its weights. {train_again}"
        )
    try:
        run = read_account(folder / RUN, _RUN_FORMAT)
        check_files(folder, {name: run["files"][name] for name in _SEALED})
    except OtherFormat as error:
        raise DataError(
            f"{error}, but written by another version of fuxictr_stem. Use the version that "
            f"{folder / RESULT} names, or train the experiment again with this one."
        ) from error
    except Damaged as error:
        raise DataError(f"{error}. Copy the folder again. {train_again}") from error
    params: dict[str, Any] = run["params"]
    for label in params["label_col"]:
        # JSON has no NaN.
        if label.get("missing") is not None:
            label["missing"] = float(label["missing"])
    return params


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights of a run that `read_run` has read; DataError if they are gone."""
    try:
        return str(read_account(folder / RUN, _RUN_FORMAT)["files"][WEIGHTS]["sha256"])
    except Damaged as error:
        raise DataError(f"{error}. Start again when that run is finished.") from error


def read_feature_map(folder: Path, params: Mapping[str, Any]) -> FeatureMap:
    """Return the feature map of a run, whose pretrained vectors are in its weights; else a DataError."""
    try:
        feature_map = load_feature_map(params["dataset_id"], folder, params)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(
            f"{folder / FEATURE_MAP} is not that of this run ({type(error).__name__}: {error}). "
            "Copy the folder again, or train the experiment again, without --resume."
        ) from error
    feature_map.data_dir = None
    return feature_map


def no_run(folder: Path) -> str:
    """Return why a folder is not that of a finished run, and which one may be meant."""
    about = f"{folder} is not the folder of a finished run"
    if not folder.is_dir():
        return f"{about}: there is no such folder. It is <model_root>/<dataset_id>/<expid>."
    if (folder / STATES).is_dir() or (folder / WEIGHTS).is_file():
        advice = "Finish the run with --resume; one under FuxiCTR's own engine leaves none."
        return f"{about}: it has no {RESULT}. {advice}"
    inside = sorted(path.parent for path in folder.glob(f"**/{RESULT}"))
    meant = f" Did you mean {inside[0]}?" if inside else ""
    return f"{about}: it has no {RESULT}. It is <model_root>/<dataset_id>/<expid>.{meant}"
