"""Predictions of a split as a parquet file, in the order of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars

from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.outputs import replacing

if TYPE_CHECKING:
    # A command checks its arguments before PyTorch is loaded.
    from fuxictr_stem.training.evaluation import Predictions

GROUP = "group"


@contextmanager
def parquet_blocks(
    path: Path, compression: str = "snappy"
) -> Iterator[Callable[[polars.DataFrame], None]]:
    """Yield what appends rows to a parquet file; without any, there is no file."""
    from pyarrow import parquet

    with ExitStack() as stack:
        writer: Any = None

        def append(frame: polars.DataFrame) -> None:
            nonlocal writer
            table = frame.to_arrow(compat_level=polars.CompatLevel.oldest())
            if writer is None:
                opened = parquet.ParquetWriter(path, table.schema, compression=compression)
                writer = stack.enter_context(opened)
            writer.write_table(table)

        yield append


def write_predictions(
    path: Path, predictions: Predictions, more: Iterable[polars.DataFrame] | None = None
) -> None:
    """Write a split's labels and predictions, in the order of its rows.

    The columns are ``{label}``, NaN where the sample is not the task's, ``{label}_pred``, and ``group``,
    the ``group_id`` as the metrics number it, where there is one; then ``more`` columns, block by block,
    whose rows must be as many (else a DataError).
    """
    columns = {}
    for label, y_pred in predictions.y_pred.items():
        columns[label] = predictions.y_true[label].astype("float32")
        columns[f"{label}_pred"] = y_pred.astype("float32")
    if predictions.group_id is not None:
        columns[GROUP] = predictions.group_id
    frame = polars.DataFrame(columns)
    with replacing(path, polars.exceptions.PolarsError) as temporary:
        if more is None:
            frame.write_parquet(temporary)
        else:
            _write_joined(temporary, frame, more)


def _write_joined(path: Path, frame: polars.DataFrame, blocks: Iterable[polars.DataFrame]) -> None:
    rows = 0
    with parquet_blocks(path) as append:
        for block in blocks:
            part = frame.slice(rows, block.height)
            rows += block.height
            if part.height < block.height:
                break
            append(part.hstack(block))
    if rows != frame.height:
        raise DataError(
            f"{path.name}: {frame.height:,} rows were predicted, but the source files have "
            f"{'at least ' if rows > frame.height else ''}{rows:,}: they have changed since. Put "
            "them back; --resume then continues."
        )
