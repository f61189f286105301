"""Whether what a run has left is complete, so that it can be taken instead of being made again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open

from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.errors import DataError
from fuxictr_stem.metrics import produced_metrics
from fuxictr_stem.metrics.task_metrics import BINARY
from fuxictr_stem.models import MultiTaskNet
from fuxictr_stem.registry import get_model
from fuxictr_stem.runtime.file_errors import check_access
from fuxictr_stem.training.predictions_file import GROUP

PREDICTIONS = "predictions_test.parquet"
WEIGHTS = "model.safetensors"

# The bounds are beyond any measurement: JSON holds whole numbers that no float does.
Number = Annotated[float, Field(strict=True, ge=-1e300, le=1e300)]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e300)]
Count = Annotated[int, Field(strict=True, ge=0)]


class _Parameters(BaseModel):
    dense: Count
    embedding: Count


class _Evaluation(BaseModel):
    epoch: Count
    train_loss: Number
    valid: dict[str, Number]


class _Result(BaseModel):
    """The fields of ``result.json`` that tables and pictures use."""

    params: _Parameters
    epochs: Annotated[int, Field(strict=True, gt=0)]
    valid: dict[str, Number]
    test: dict[str, Number]
    seconds: dict[str, Amount]
    samples_per_second: Amount
    peak_rss_bytes: Amount
    evaluations: list[_Evaluation]


def read_verified_run(
    folder: Path, params: Mapping[str, Any], seed: int, rows: int | None
) -> dict[str, Any]:
    """Return the result of a run whose files are complete and are those of its experiment.

    ``rows`` are those of its predictions of test; None does not look for any.

    Raises:
        DataError: A file is absent, damaged or of another run; the message names the first.
        AccessError: The system does not let a file be read, which says nothing about it.
    """
    path = folder / "result.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    problems = _problems(result, params, seed) if isinstance(result, dict) else ["all"]
    if problems:
        raise DataError(f"{path} is not as the run wrote it: {', '.join(problems)}.")
    if rows is not None:
        _check_predictions(folder / PREDICTIONS, params, rows)
    # A model of another package keeps its weights as it likes.
    if issubclass(get_model(params["model"]), MultiTaskNet):
        try:
            # It does not open if the file was cut short; why a file may not be read it does not say.
            (folder / WEIGHTS).open("rb").close()
            with safe_open(folder / WEIGHTS, "pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise _unreadable(folder / WEIGHTS, error) from error
    return dict(result)


def _problems(result: Mapping[str, Any], params: Mapping[str, Any], seed: int) -> list[str]:
    """Return which fields are absent, of another kind, or of another experiment."""
    identity = {"dataset_id": params["dataset_id"], "model": params["model"]}
    identity |= {"seed": seed, "expid": params["model_id"]}
    problems = [key for key, value in identity.items() if result.get(key) != value]
    metrics = produced_metrics(task_types(params), params["metrics"])
    try:
        record = _Result.model_validate(result)
    except ValidationError as error:
        return problems + list(dict.fromkeys(str(problem["loc"][0]) for problem in error.errors()))
    needed = {"valid": metrics, "seconds": ["train"]}
    needed |= {"test": metrics} if params["test_data"] is not None else {}
    return problems + [
        k for k, names in needed.items() if not getattr(record, k).keys() >= {*names}
    ]


def _check_predictions(path: Path, params: Mapping[str, Any], rows: int) -> None:
    """Reject predictions that cannot be read, or have other columns, kinds, rows or values than a run's."""
    try:
        # All of it: a damaged part shows only when it is read.
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(path, error) from error
    names = [name for label in params["task_labels"] for name in (label, f"{label}_pred")]
    problems = [
        f"{name} is not 32-bit float" for name in names if frame.schema.get(name) != pl.Float32
    ]
    if params.get("group_id") is not None and not frame.schema.get(GROUP, pl.Null).is_integer():
        problems.append(f"{GROUP} is not of whole numbers")
    if frame.height != rows:
        problems.append(f"{frame.height:,} rows, test has {rows:,}")
    if not problems:
        # Raw values next to them may be missing.
        columns = [name for name in (*names, GROUP) if name in frame.columns]
        problems += [f"{name} has empty values" for name in columns if frame[name].has_nulls()]
        for label, task in task_types(params).items():
            samples = frame.filter(pl.col(label).is_not_nan())
            true, pred = samples[label], samples[f"{label}_pred"]
            fits = true.is_in([0, 1]) if task == BINARY else true.is_finite()
            if samples.is_empty() or not (fits & pred.is_finite()).all():
                problems.append(f"{label} or {label}_pred has values that no run writes")
    if problems:
        raise DataError(f"{path} is not as the run wrote it: {', '.join(problems)}.")


def _unreadable(path: Path, error: BaseException) -> DataError:
    """Return the error to raise for a file; where the system denies access, raise an AccessError."""
    check_access(path, error)
    return DataError(f"{path} cannot be read: {error}.")
