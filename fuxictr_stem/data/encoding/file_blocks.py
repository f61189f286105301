"""Rows of files, read, checked as those of training, and encoded block by block."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import numpy as np
import polars as pl

from fuxictr_stem.data.encoding.column_encoders import plain
from fuxictr_stem.data.encoding.encode import encoded
from fuxictr_stem.data.encoding.fill_steps import filled_frame, missing_values
from fuxictr_stem.data.encoding.fitted import Fitted
from fuxictr_stem.data.encoding.vocabulary import Array
from fuxictr_stem.data.source.column_plan import Plan
from fuxictr_stem.data.source.columns import KEPT, Column
from fuxictr_stem.data.source.dialect import dialect_for
from fuxictr_stem.data.source.files import file_format
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.split_files import HIDDEN
from fuxictr_stem.data.source.validate import check_source
from fuxictr_stem.runtime.outputs import remove_leftovers
from fuxictr_stem.runtime.whole_folder import fresh_folder

_ROWS = "data"
# Whether a process is alive is known of this machine's alone.
_COPIES = f"fuxictr_stem-rows-{platform.node()}"


class Block(NamedTuple):
    """Some rows of files."""

    arrays: dict[str, Array]  # by feature: (rows,) or (rows, width)
    labels: dict[str, Array]  # by label: (rows,) float32, NaN where a row has none
    kept: pl.DataFrame  # the columns that are carried along


def read_blocks(
    fitted: Fitted,
    plan: Plan,
    files: Sequence[Path],
    features: Collection[str],
    labels: Collection[str],
    keep: Collection[str],
    block_rows: int,
    counted: Callable[[int], object],
    scratch: Path | None,
) -> Iterator[Block]:
    """Read and encode the rows of files, as `RowEncoder.blocks` says, by the plan that reads them."""
    data_format = file_format(files)
    declared = {c.origin: c.dtype for c in fitted.plan.in_files}
    kept = [
        Column(
            f"{HIDDEN}{KEPT} {name}",
            KEPT,
            declared.get(name, "str") if data_format == "csv" else "",
            name,
            null_values=plan.null_values,
        )
        for name in dict.fromkeys(keep)
    ]
    dialect = dialect_for(files, plan.dialect)
    columns = (*plan.columns, *kept)
    plan = replace(plan, data_format=data_format, dialect=dialect, columns=columns)
    place = (Path(gettempdir()) if scratch is None else scratch) / _COPIES
    remove_leftovers(place)
    with fresh_folder(place) as copies:
        # The system's temporary folder is everybody's.
        copies.chmod(0o700)
        source, stats = check_source(open_source(plan, {_ROWS: list(files)}), copies)
        rows, whole = stats[_ROWS].rows, source.whole_numbers()
        counted(rows)
        frame = filled_frame(plan, source.frame(_ROWS))
        encoders = fitted.column_encoders(features, rows, whole, missing_values(plan))
        encoders += [plain(name, np.dtype(np.float32)) for name in labels]
        names = [column.name for column in kept]
        for arrays, block in encoded(source, frame, encoders, block_rows, kept=names):
            yield Block(
                {name: arrays[name] for name in features},
                {name: arrays[name] for name in labels},
                block.select(pl.col(c.name).alias(c.origin) for c in kept),
            )
