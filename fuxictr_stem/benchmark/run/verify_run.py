"""Whether what a run has left is whole, so that a benchmark can take it instead of making it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import SafetensorError, safe_open

from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import produced_metrics
from fuxictr_stem.metrics.tasks import BINARY
from fuxictr_stem.models import MultiTaskNet
from fuxictr_stem.registry import get_model
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.training.predictions_file import GROUP

# Beyond any measurement; JSON holds whole numbers that no float does.
_LARGEST = 1e300


PREDICTIONS = "predictions_test.parquet"
WEIGHTS = "model.safetensors"


def read_whole(folder: Path, params: Mapping[str, Any], seed: int, rows: int) -> dict[str, Any]:
    """Return the result of a run whose files are whole and are those of its experiment.

    Args:
        folder: Where result, predictions and weights are.
        params: The experiment's checked parameters.
        seed: The run's seed.
        rows: Rows of the test split.

    Raises:
        DataError: A file is absent, damaged or of another run; the message names the first.
        AccessError: The system does not let a file be read, which says nothing about it.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        check_access(path, error)
        raise DataError(f"{path} cannot be read: {error}.") from error
    wrong = _wrong_fields(result, {**params, "seed": seed}) if isinstance(result, dict) else ["all"]
    if wrong:
        raise DataError(f"{path} is not as the run wrote it: {', '.join(wrong)}.")
    _check_predictions(folder / PREDICTIONS, params, rows)
    # A model of another package keeps its weights as it likes.
    if issubclass(get_model(params["model"]), MultiTaskNet):
        try:
            # It does not open if the file was cut short; why a file may not be read it does not say.
            (folder / WEIGHTS).open("rb").close()
            with safe_open(folder / WEIGHTS, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            check_access(folder / WEIGHTS, error)
            raise DataError(f"{folder / WEIGHTS} cannot be read: {error}.") from error
    return dict(result)


def _wrong_fields(result: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Return which fields that the tables and pictures use are absent or of another kind."""
    tasks = dict(zip(params["task_labels"], params["task"], strict=True))
    metrics = produced_metrics(tasks, params["metrics"])
    evaluations = result.get("evaluations")
    right = {
        **{key: result.get(key) == params[key] for key in ("dataset_id", "model", "seed")},
        "expid": result.get("expid") == params["model_id"],
        "params": _are_counts(result.get("params"), ("dense", "embedding")),
        "epochs": _is_count(result.get("epochs")) and result["epochs"] > 0,
        **{split: _are_numbers(result.get(split), metrics) for split in ("valid", "test")},
        "seconds": _are_numbers(result.get("seconds"), ["train"], low=0),
        **{
            key: _is_number(result.get(key), low=0)
            for key in ("samples_per_second", "peak_rss_bytes")
        },
        "evaluations": isinstance(evaluations, list) and all(map(_is_evaluation, evaluations)),
    }
    return [name for name, is_right in right.items() if not is_right]


def _is_evaluation(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and _is_count(record.get("epoch"))
        and _is_number(record.get("train_loss"))
        and _are_numbers(record.get("valid"), [])
    )


def _is_number(value: Any, low: float = -_LARGEST) -> bool:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and low <= value <= _LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value, low=0)


def _are_numbers(values: Any, needed: list[str], low: float = -_LARGEST) -> bool:
    """Say whether it is a mapping to numbers that has the needed ones."""
    if not isinstance(values, dict) or not values.keys() >= set(needed):
        return False
    return all(_is_number(value, low) for value in values.values())


def _are_counts(values: Any, names: tuple[str, ...]) -> bool:
    return isinstance(values, dict) and all(_is_count(values.get(name)) for name in names)


def _check_predictions(path: Path, params: Mapping[str, Any], rows: int) -> None:
    """Refuse predictions that are not those of each test row.

    Raises:
        DataError: The file cannot be read, or has other columns, kinds, rows or values.
    """
    try:
        # All of it: a damaged part shows only when it is read.
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        check_access(path, error)
        raise DataError(f"{path} cannot be read: {error}.") from error
    names = [name for label in params["task_labels"] for name in (label, f"{label}_pred")]
    wrong = [f"{n} is not 32-bit float" for n in names if frame.schema.get(n) != pl.Float32]
    if params.get("group_id") is not None and not frame.schema.get(GROUP, pl.Null).is_integer():
        wrong.append(f"{GROUP} is not of whole numbers")
    if frame.height != rows:
        wrong.append(f"{frame.height:,} rows, test has {rows:,}")
    if not wrong:
        # Raw values beside them may be missing.
        own = [name for name in (*names, GROUP) if name in frame.columns]
        wrong += [f"{name} has empty values" for name in own if frame[name].has_nulls()]
        for label, task in zip(params["task_labels"], params["task"], strict=True):
            samples = frame.filter(pl.col(label).is_not_nan())
            true, pred = samples[label], samples[f"{label}_pred"]
            fits = true.is_in([0, 1]) if task == BINARY else true.is_finite()
            if samples.is_empty() or not (fits & pred.is_finite()).all():
                wrong.append(f"{label} or {label}_pred has values that no run writes")
    if wrong:
        raise DataError(f"{path} is not as the run wrote it: {', '.join(wrong)}.")
