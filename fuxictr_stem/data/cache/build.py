"""Build the content of a cache folder: check, fit, encode, account."""

from __future__ import annotations

import gc
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fuxictr
import numpy as np
import polars as pl

from fuxictr_stem.data.cache.cache_folder import MANIFEST
from fuxictr_stem.data.cache.damage import owner
from fuxictr_stem.data.cache.fingerprint import FORMAT
from fuxictr_stem.data.cache.write_splits import SplitWriter
from fuxictr_stem.data.encoding.column_encoders import Encoder, plain
from fuxictr_stem.data.encoding.count_tokens import count_share
from fuxictr_stem.data.encoding.encoder_files import Fitted, read_encoder, write_encoder
from fuxictr_stem.data.encoding.fill_values import fills, missing_values
from fuxictr_stem.data.encoding.remarks import number_remarks, unknown_remarks, unknown_shares
from fuxictr_stem.data.encoding.vocabulary import integer_type
from fuxictr_stem.data.source.column_plan import BLOCK_ROWS, Plan
from fuxictr_stem.data.source.open_source import open_source
from fuxictr_stem.data.source.split_files import Source
from fuxictr_stem.data.source.validate import SplitStats, check_source
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.runtime.group import ALONE, Group
from fuxictr_stem.runtime.outputs import check_space
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.runtime.whole_folder import write_account

logger = logging.getLogger(__name__)


def build(
    plan: Plan,
    files: Mapping[str, list[Path]],
    fingerprint: str,
    folder: Path,
    block_rows: int = BLOCK_ROWS,
    group: Group = ALONE,
) -> None:
    """Fill an empty folder with a dataset's cache, `block_rows` encoded at a time.

    Several processes that see the folder may do that together: each reads its share of the CSV files, and
    counts and encodes its share of the rows. The first one does all else.

    Raises:
        ConfigError: FuxiCTR is not the release that this package is for.
        DataError: The source files are not what the config declares.
        OutputError: The disk is too small.
    """
    scratch = folder / "scratch"
    source, stats = check_source(open_source(plan, files), scratch, group)
    if group.is_first:
        processor, frames = _fit(source, folder, scratch, group)
        fitted = processor.fitted()
        write_encoder(folder, fitted)
        group.from_first(lambda: None)
    else:
        count_share(source, scratch, group)
        group.from_first(lambda: None)
        fitted = read_encoder(folder)
    columns, becomes = _encoders(fitted, source, stats), fills(source)
    rows = {split: counts.rows for split, counts in stats.items()}
    splits = SplitWriter(source, rows, columns, becomes, scratch, block_rows, group)
    if not group.is_first:
        for split in source.parts:
            splits.write_share(split)
        return
    row_bytes = sum(column.dtype.itemsize * max(column.width, 1) for column in columns)
    # The shares of other processes are there twice for a while.
    needed = int(sum(rows.values()) * row_bytes * 1.02) * min(group.count, 2)
    check_space(folder.parent, needed, "the cache needs", "or choose another data_root")
    tallies = {
        split: splits.write(split, folder / f"{split}.h5", owner(fingerprint, split))
        for split in source.parts
    }
    shares = unknown_shares(tallies)
    kinds = {col["name"]: col["type"] for col in plan.features}
    remarks = [
        *processor.remarks,
        *unknown_remarks(shares, frames, processor.vocabularies()),
        *number_remarks(becomes, tallies, rows, kinds),
    ]
    if scratch.exists():
        shutil.rmtree(scratch)
    content = _content(plan, fingerprint, columns, stats)
    write_account(folder / MANIFEST, {**content, "unknown": shares, "remarks": remarks})


def _fit(
    source: Source, folder: Path, scratch: Path, group: Group
) -> tuple[Any, dict[str, pl.LazyFrame]]:
    """Fit FuxiCTR's processor; its preprocessing takes seconds to import, so it is only here."""
    try:
        from fuxictr_stem.data.encoding.fit import fit
    except ImportError as error:
        raise ConfigError(
            f"The FuxiCTR in {Path(fuxictr.__file__).parent} cannot prepare data for us: {error}. Use the "
            f"release that PyPI has (pip install fuxictr==2.3.10). A source checkout of the same number is "
            f"not the same: take it off PYTHONPATH."
        ) from error
    start, enabled = time.monotonic(), gc.isenabled()
    # Python would look for cycles among millions of tokens, which have none.
    gc.disable()
    try:
        fitted = fit(source, folder, scratch, group)
    finally:
        if enabled:
            gc.enable()
    logger.debug("Fitted the vocabularies in %.1f s", time.monotonic() - start)
    return fitted


def _encoders(fitted: Fitted, source: Source, stats: Mapping[str, SplitStats]) -> list[Encoder]:
    """Return an encoder for each feature and each label, of the smallest type that holds all splits."""
    values, whole = missing_values(source.plan), source.whole_numbers()
    columns = fitted.column_encoders(fitted.by_name, (), math.inf, whole)
    for place, column in enumerate(columns):
        if column.name in stats["train"].spans:
            spans = [bound for counts in stats.values() for bound in counts.spans[column.name]]
            low, high = (f(*spans, values.get(column.name, 0)) for f in (min, max))
            columns[place] = plain(column.name, integer_type(low, high))
    for label in source.plan.labels:
        counts = [split.labels[label] for split in stats.values()]
        # A missing label is NaN, which no integer is.
        binary = not any(count["other"] or count["nulls"] for count in counts)
        dtype = np.dtype(np.uint8 if binary else np.float32)
        columns.append(plain(label, dtype, as_it_is=not binary))
    return columns


def _content(
    plan: Plan, fingerprint: str, columns: Sequence[Encoder], stats: Mapping[str, SplitStats]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "dataset_id": plan.dataset_id,
        "versions": versions(),
        "rows": {split: counts.rows for split, counts in stats.items()},
        "columns": {
            column.name: {
                "dtype": str(column.dtype),
                "shape": [column.width] if column.width else [],
            }
            for column in columns
        },
        "labels": {split: counts.labels for split, counts in stats.items()},
        "missing": {split: counts.missing for split, counts in stats.items()},
    }
