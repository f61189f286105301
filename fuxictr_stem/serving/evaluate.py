"""Labelled rows scored and measured: the labels, samples and groups are those of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.encode import Block
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError, raise_all, suggest
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.serving.evaluation_result import Evaluation
from fuxictr_stem.serving.measure import measure
from fuxictr_stem.serving.predict import Predictor
from fuxictr_stem.serving.rows_to_score import Data, Wanted, open_rows
from fuxictr_stem.training.evaluation import Predictions


def evaluate(
    predictor: Predictor,
    params: Mapping[str, Any],
    tasks: Mapping[str, str],
    names: Sequence[str],
    data: Data,
    by: str | None,
) -> Evaluation:
    """Score and measure labelled rows; see `Run.evaluate`. The scores are in memory, the rows are not."""
    group = params.get("group_id")
    check_metrics(names, group is not None)
    if by is None and not any(METRICS[name].group_weight for name in names):
        group = None
    spaces = params["sample_spaces"] or {}
    groups = [] if group is None else [group]
    keep = [] if by is None else [by]
    wanted = Wanted(
        features=[*predictor.features, *groups],
        labels=list(dict.fromkeys([*tasks, *spaces.values()])),
        keep=list(dict.fromkeys([*keep, *predictor.encoder.columns_needed(groups)])),
    )
    rows = open_rows(predictor.encoder, data, wanted)
    y_true: dict[str, list[np.ndarray]] = {label: [] for label in tasks}
    y_pred: dict[str, list[np.ndarray]] = {label: [] for label in tasks}
    values, numbers = [], None if group is None else Groups(predictor.encoder, group)
    for block, scores in predictor.scored(rows, "Evaluate"):
        for label in tasks:
            y = block.labels[label].astype(np.float32)
            if label in spaces:
                y[block.labels[spaces[label]] != 1] = np.nan
            y_true[label].append(y)
            y_pred[label].append(scores[label])
        if numbers is not None:
            numbers.add(block)
        if by is not None:
            values.append(block.kept[by])
    group_id = None if numbers is None else numbers.numbers()
    scored = Predictions(_joined(y_true), _joined(y_pred), group_id)
    return measure(tasks, scored, names, None if by is None else _column(values))


def _joined(parts: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate(arrays).astype(np.float64) for name, arrays in parts.items()}


def _column(parts: Sequence[pl.Series]) -> pl.Series:
    """Return a column of all blocks, of which slices are made."""
    column = pl.concat([part.to_frame() for part in parts], how="vertical_relaxed").to_series()
    if column.dtype.is_nested():
        raise DataError(
            f"by: column {column.name!r} holds {column.dtype}. Name a column with one value per row."
        )
    return column


class Groups:
    """Numbers of the groups of a column: those of training for its groups, further ones for new groups."""

    def __init__(self, encoder: RowEncoder, group_id: str) -> None:
        self._name, self._unknown = group_id, encoder.unknown(group_id)
        self._raw = encoder.columns_needed([group_id])[0]
        self._ids: list[np.ndarray] = []
        self._new: list[pl.Series] = []

    def add(self, block: Block) -> None:
        """Add the groups of a block's rows."""
        ids = block.arrays[self._name].astype(np.int64)
        self._ids.append(ids)
        if self._unknown is not None:
            new = block.kept[self._raw].filter(pl.Series(ids == self._unknown))
            self._new.append(new.cast(pl.String))

    def numbers(self) -> np.ndarray:
        """Return the number of each row's group, (N,)."""
        ids = np.concatenate(self._ids)
        if self._unknown is not None:
            # A missing value is a group, too, as in training.
            new = pl.concat(self._new).fill_null("").rank("dense").to_numpy()
            ids[ids == self._unknown] = self._unknown + new
        return ids


def check_metrics(names: Sequence[str], grouped: bool) -> None:
    """Reject unknown metrics, and those that need groups if the run has none, in a ConfigError."""
    problems = [
        f"{name!r} is none of {', '.join(METRICS)}.{suggest(name, METRICS)}"
        for name in names
        if name not in METRICS
    ]
    needing = [name for name in names if name in METRICS and METRICS[name].group_weight]
    if needing and not grouped:
        problems.append(
            f"{', '.join(needing)} need groups, but the run was trained without group_id."
        )
    if not names:
        problems.append(f"must name at least one of {', '.join(METRICS)}.")
    raise_all(ConfigError, "metrics", problems)
