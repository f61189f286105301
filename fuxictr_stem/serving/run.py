"""A finished run, wherever its folder lies: its model, its encoder and its settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch
from fuxictr.features import FeatureMap

from fuxictr_stem import results
from fuxictr_stem.config.column_words import META
from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.distributed.split_model import build_to_score
from fuxictr_stem.errors import DataError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.run_data import check_device
from fuxictr_stem.serving.evaluate import Evaluation, evaluate
from fuxictr_stem.serving.field_vectors import FieldVectors, Table, write_embeddings
from fuxictr_stem.serving.gate_frames import mean_gate_weights, row_gate_weights
from fuxictr_stem.serving.predict import Predictor, predict_frame, rows_like, write_predictions
from fuxictr_stem.serving.rows_to_score import (
    Data,
    Frame,
    Wanted,
    is_pandas,
    listed_names,
    open_rows,
)
from fuxictr_stem.training.precision import FP32, TF32
from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it lies.
        params: The checked parameters of its experiment.
        tasks: Task type by label.
        model: The model with the best weights, in evaluation mode.
        feature_map: FuxiCTR's description of the model's features.
        encoder: What turns raw rows into ids.
        unknown: By column, the share of train's ids that are the unknown one.
        ranks: The processes that score rows together; by default this one alone.
    """

    folder: Path
    params: dict[str, Any]
    tasks: dict[str, str]
    model: MultiTaskNet
    feature_map: FeatureMap
    encoder: RowEncoder
    unknown: dict[str, float]
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def features(self) -> list[str]:
        """The columns that the model reads, encoded."""
        return [name for name, spec in self.feature_map.features.items() if spec["type"] != META]

    def predict(self, data: Data, keep: Sequence[str] = ()) -> Frame:
        """Return each task's score for every row, in the order of the rows.

        Args:
            data: A pandas or polars frame, a path, a folder, a pattern, or a list of files: csv, tsv (also
                gzipped) or parquet. It needs the columns of the model's features, and no labels.
            keep: Columns of the data to keep next to the scores, unchanged.

        Returns:
            ``keep``, then a float32 column ``<label>_pred`` per task: in a frame of the data's kind (one of
            pandas keeps its index), or in a polars frame for files.

        Raises:
            DataError: A file or column is missing, or does not hold what the run's columns do; all problems
                are named.
            ConfigError: A kept column has the name of a score.
        """
        return predict_frame(self._predictor, data, self._wanted(keep))

    def predict_to(
        self, path: str | Path, files: str | Path | Sequence[str | Path], keep: Sequence[str] = ()
    ) -> int:
        """Write the scores of files' rows to a parquet or csv file, and return their number.

        The rows go from file to file in blocks of `rows_to_score.BLOCK_ROWS`, so there may be more of them
        than fit into memory. The file appears when it is complete.

        Args:
            path: The file; its name ends with .parquet or .csv.
            files: Paths, as for `predict`.
            keep: As for `predict`.

        Raises:
            ConfigError, DataError: As `predict`; or the file is one of the input files, or has another
                ending.
            OutputError: It cannot be written.
        """
        return write_predictions(Path(path), self._predictor, files, self._wanted(keep))

    def evaluate(
        self, data: Data, metrics: Iterable[str] | None = None, by: str | None = None
    ) -> Evaluation:
        """Return each task's metrics on labelled rows, and their means over the tasks.

        Labels, missing labels, samples and groups are treated as in training.

        Args:
            data: As for `predict`, with the columns of the labels.
            metrics: Names of metrics; by default the experiment's.
            by: A column of the data; each of its values gets metrics of its rows, too.

        Raises:
            ConfigError: A metric is unknown, or needs groups that the run does not have.
            DataError: As `predict`; or a label is not what its task needs.
        """
        names = listed_names(self.params["metrics"] if metrics is None else metrics)
        return evaluate(self._predictor, self.params, self.tasks, names, data, by)

    def embeddings(self, field: str, unknown: bool = False) -> pl.DataFrame:
        """Return the vectors that the model has learnt for the values of a categorical or sequence field.

        They are what the model reads for a value: before a sequence is pooled and before the field's
        encoder; for pretrained vectors, after their projection. A value that is in the file of learnt
        pretrained vectors, but not in train, has a vector of zeros.

        Args:
            field: The field. If it shares another field's table, it has that field's vectors.
            unknown: Whether to add the vector of all other values, under the key null.

        Returns:
            ``key``, the raw values in the dtype of training, in the order of their ids; ``shared`` and, for
            a model with a table per task, ``<label>`` for each: an array of float32 in each row.

        Raises:
            ConfigError: There is no such field, or it has no vectors by value.
        """
        return self._vectors.frame(field, unknown)

    def table(self, field: str, task: str | None = None, unknown: bool = False) -> Table:
        """Return the vectors of one table: ``keys``, a polars series, and ``vectors``, (N, D) float32.

        Args:
            field: As for `embeddings`.
            task: The label whose table it is; None for the shared one.
            unknown: As for `embeddings`.

        Raises:
            ConfigError: As `embeddings`; or there is no table of that task.
        """
        return self._vectors.table(field, task, unknown)

    def write_embeddings(self, out: str | Path, fields: Sequence[str] | None = None) -> list[Path]:
        """Write `embeddings` into a new folder, a parquet file per field.

        Tables larger than memory are written in blocks, and the folder appears when it is complete.

        Args:
            out: The folder; it must be new or empty.
            fields: The fields; by default each that has a table of its own.

        Returns:
            The files: ``<field>.parquet``.

        Raises:
            ConfigError: As `embeddings`, for all fields.
            OutputError: The folder cannot be written.
        """
        names = None if fields is None else listed_names(fields)
        return write_embeddings(self._vectors, Path(out), names)

    def gate_weights(self, data: Data, by_row: bool = False) -> Frame:
        """Return which experts each task's gate listens to, averaged over rows.

        Args:
            data: As for `predict`.
            by_row: Whether to return the weights of every row instead.

        Returns:
            ``place`` (such as ``layer 1``), ``task`` (``shared`` for the gate of the shared stream, ``all``
            for one that serves all tasks), ``expert``, and ``mean`` and ``std`` of the weight. By row, a
            column ``place/task/expert`` for each, float32. A frame of the same kind as the data, a polars
            frame for files. Empty for a model without gates.

        Raises:
            DataError: As `predict`.
        """
        rows = open_rows(self.encoder, data, self._wanted())
        batches = self._predictor.batches(rows, "Gate weights")
        if by_row:
            return rows_like(data, row_gate_weights(self.model, batches))
        frame = mean_gate_weights(self.model, batches)
        return frame.to_pandas() if is_pandas(data) else frame

    def _wanted(self, keep: Iterable[str] = ()) -> Wanted:
        return Wanted(self.features, keep=listed_names(keep))

    @property
    def _vectors(self) -> FieldVectors:
        return FieldVectors(self.model, self.encoder)

    def join(self) -> None:
        """Score rows for the first of several processes, until that one calls this, too."""
        self._predictor.join()

    @property
    def _predictor(self) -> Predictor:
        features, batch_size = tuple(self.features), self.params["batch_size"]
        return Predictor(self.model, self.encoder, features, batch_size, self.unknown, self.ranks)


def load(folder: str | Path, gpu: int = -1, ranks: Ranks | None = None) -> Run:
    """Open the folder of a finished run, ``<model_root>/<dataset_id>/<expid>``, or a copy of it.

    Args:
        folder: The folder; nothing else is read, no data, config or cache.
        gpu: Number of the CUDA device, or -1 for the CPU; as for `run_experiment`.
        ranks: Processes that score rows together, each of which calls this and keeps a part of the tables:
            the first one uses the run, the others call `Run.join`.

    Raises:
        DataError: It is not the folder of a finished run, or one of its files is missing or damaged; or
            other processes have a different run there.
        ConfigError: There is no such device, or the model's package is not installed.
        AccessError: The system does not let a file be read.
    """
    ranks = ranks or Ranks()
    check_device(gpu, ranks.host.count)
    folder = Path(folder)
    result = results.read(folder) if folder.is_dir() else None
    if result is None:
        raise DataError(results.no_run(folder))
    params = {**results.read_run(folder), "gpu": ranks.device(gpu)}
    if ranks.count > 1:
        _check_same(folder, ranks)
    if params["precision"] == TF32 and gpu < 0:
        logger.info("precision: the CPU has no tf32, so fp32 is used.")
        params["precision"] = FP32
    encoder = RowEncoder.load(folder / ENCODER_FOLDER)
    feature_map = results.read_feature_map(folder, params)
    # The caller's random numbers stay as they were.
    with torch.random.fork_rng(devices=[]):
        model = build_to_score({**params, "verbose": 0}, feature_map, ranks)
    assert isinstance(model, MultiTaskNet), type(model)
    model.load_weights(str(folder / results.WEIGHTS))
    model.eval()
    unknown = result.get("unknown", {}).get("train", {})
    return Run(folder, params, task_types(params), model, feature_map, encoder, unknown, ranks)


def _check_same(folder: Path, ranks: Ranks) -> None:
    """Reject runs that differ among several processes."""
    weights = results.weights_digest(folder)
    if ranks.from_first(lambda: weights) != weights:
        raise DataError(
            f"{folder} is a different run on {ranks.name} than on rank 0. Give all hosts the same "
            "folder, or copies of it."
        )
