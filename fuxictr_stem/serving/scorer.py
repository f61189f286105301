"""Scores from an exported run by onnxruntime and the encoder alone, without PyTorch and FuxiCTR."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.errors import ConfigError, DataError, raise_all
from fuxictr_stem.serving.export_folder import ENCODER, ONNX, ONNX_DATA, TOLERANCES, check_export
from fuxictr_stem.serving.raw_rows import RawRows, as_frame, single_row

BLOCK_ROWS = 4096
"""The most rows that go through the model at a time, which bounds its memory."""


class Scorer:
    """Scores raw rows as the exported run does; threads may share it.

    A row that comes as a dict takes a fraction of the time of a frame of one row: no frame is made, and it
    goes through memory that is bound to the model once. A forked process must make its own Scorer.

    Args:
        folder: The exported folder, with ``model.onnx``. Its large files are mapped into memory.
        threads: How many threads work on one call; by default one for each CPU that the process may use.
            1 is best where many calls come at once.

    Attributes:
        tasks: The labels of the tasks.
        columns: The columns that rows need.

    Raises:
        DataError: It is no exported folder, a file is absent or damaged, or the rows in its manifest do
            not get their scores here.
        ConfigError: onnxruntime is not installed, or ``threads`` is not a positive whole number.
        AccessError: The system does not let a file be read.

    Example::

        scorer = Scorer("exported")
        scorer.score({"user_id": "u7", "item_id": "i3"})  # {"like": array([0.083], dtype=float32), ...}
        scorer.score(pl.read_parquet("tomorrow.parquet"))
    """

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = None) -> None:
        folder = Path(folder)
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ConfigError(f"threads must be a positive whole number, found {threads!r}.")
        manifest = check_export(folder, (ONNX, ONNX_DATA))
        if ONNX not in manifest["files"]:
            raise DataError(f"{folder} has no {ONNX}. Export the run again with --format onnx.")
        self._encoder = RowEncoder.load(folder / ENCODER)
        self._inputs = {spec["name"]: spec for spec in manifest["inputs"]}
        self.tasks = [task["label"] for task in manifest["tasks"]]
        self._outputs = [task["output"] for task in manifest["tasks"]]
        self.columns = self._encoder.columns_needed(self._inputs)
        self._needed = frozenset(self.columns)
        columns = manifest["columns"]
        self._lists = {c["name"] for c in columns if c["type"] in ("sequence", "embedding")}
        self._floats = {c["name"] for c in columns if c["dtype"] == "float"}
        self._session = _session(folder / ONNX, threads)
        self._idle: list[_BoundRow] = []
        # Older exports do not say how the network is stored.
        self._check(folder, manifest["rows"], TOLERANCES[manifest.get("network", "float32")])

    def score(self, rows: RawRows) -> dict[str, Array]:
        """Score rows.

        Args:
            rows: A frame of polars or pandas, an Arrow table, a dict of columns (lists or arrays), a list
                of rows as dicts, or one row as a dict. Columns may be in any order, further ones are
                ignored; values and their types are those of the run's data.

        Returns:
            By label: the scores of the rows in their order, (N,) float32.

        Raises:
            DataError: There are no rows, columns are missing, or values are not what they may be; all
                problems are named, with columns and first rows.
        """
        row = single_row(rows, self.columns, self._lists)
        if row is not None and row.keys() >= self._needed:
            return dict(zip(self.tasks, self._of_row(row), strict=True))
        frame = as_frame(rows if row is None else [row], self.columns, self._floats)
        arrays = self._encoder.encode(frame, self._inputs)
        if not frame.height:
            raise DataError("There are no rows.")
        feeds = {n: np.asarray(a, self._inputs[n]["dtype"]) for n, a in arrays.items()}
        blocks = [
            self._session.run(self._outputs, {n: a[i : i + BLOCK_ROWS] for n, a in feeds.items()})
            for i in range(0, frame.height, BLOCK_ROWS)
        ]
        scores = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return dict(zip(self.tasks, scores, strict=True))

    def _of_row(self, row: Mapping[str, Any]) -> list[Array]:
        """Return the scores of one row, (1,) each."""
        arrays = self._encoder.encode_row(row, self._inputs)
        try:
            # From a list, not from the thread: a server may start one for each request.
            bound = self._idle.pop()
        except IndexError:
            bound = _BoundRow(self._session, list(self._inputs.values()), self._outputs)
        scores = bound.scores(arrays)
        self._idle.append(bound)
        return scores

    def _check(self, folder: Path, rows: Sequence[Mapping[str, Any]], tolerance: float) -> None:
        """Compare what the manifest's rows get here, together and alone, with what they must get."""
        together = self.score([row["columns"] for row in rows])
        problems = []
        for place, row in enumerate(rows):
            alone = self.score(row["columns"])
            for label, must in row["scores"].items():
                for score in (float(together[label][place]), float(alone[label][0])):
                    if not abs(score - must) <= tolerance * max(1.0, abs(must)):
                        problems.append(
                            f"row {place + 1} gets {score:.7g} for {label!r}, but must get {must:.7g}."
                        )
        if problems:
            advice = "Install another version of onnxruntime, or export the run again."
            heading = f"{folder}: its test rows get other scores on this machine"
            raise_all(DataError, heading, [*problems, advice])


class _BoundRow:
    """Memory of one row's inputs and outputs that is bound to a model; one thread at a time uses it."""

    def __init__(
        self, session: Any, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[str]
    ) -> None:
        self._session, self._binding = session, session.io_binding()
        self._inputs = {}
        for spec in inputs:
            array = np.zeros((1, spec["width"]) if spec["width"] else 1, spec["dtype"])
            self._inputs[spec["name"]] = array
            self._bind(self._binding.bind_input, spec["name"], array)
        self._scores = [np.zeros(1, np.float32) for _ in outputs]
        for name, array in zip(outputs, self._scores, strict=True):
            self._bind(self._binding.bind_output, name, array)

    def _bind(self, bind: Any, name: str, array: Array) -> None:
        bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def scores(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return the scores, (1,) each, of a row's arrays."""
        for name, array in self._inputs.items():
            array[:] = arrays[name]
        self._session.run_with_iobinding(self._binding)
        return [score.copy() for score in self._scores]


def _session(path: Path, threads: int | None) -> Any:
    """Open a model in onnxruntime."""
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise ConfigError(
            f"A Scorer needs onnxruntime: pip install 'fuxictr_stem[export]' ({error})."
        ) from error
    options = runtime.SessionOptions()
    # Its own default would pin threads to CPUs, which a container may not have.
    options.intra_op_num_threads = threads or _cpus()
    # Threads that wait for work without a pause would take the CPUs from other calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Hides its notes to developers.
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no common base
        raise DataError(
            f"{path} cannot be opened by onnxruntime {runtime.__version__}: {error}"
        ) from error


def _cpus() -> int:
    """Return the number of CPUs that the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
