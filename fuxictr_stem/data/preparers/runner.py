"""Running a preparer: one process at a time, and nothing half-made where it would be read.

Rows are written into a temporary folder beside the split files. Then the files change in an order
that a kill at any moment leaves readable: the record says "unfinished", the old files go, test and
valid come, the record says "complete", and train, the last to come, makes the set whole. So until
all three are the new ones, either one of them is missing or the record says so.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuxictr_stem.data.preparers.job import (
    TEMPORARY,
    Job,
    job_of,
    needed,
    read_record,
    write_record,
)
from fuxictr_stem.data.preparers.preparer import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.splits import SplitWriter, summary
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.runtime.locks import locked

logger = logging.getLogger(__name__)

_LOCK = ".prepare.lock"


def run(preparer: Preparer, dataset: dict[str, Any]) -> None:
    """Make the split files of a dataset config unless they are there already.

    Raises:
        ConfigError: The config's paths or options cannot be.
        RawFilesMissing: The raw files are needed and not there.
        DataError: A raw file is damaged, or split files are in the way that are not ours.
        OutputError: The split files cannot be written.
    """
    job = job_of(preparer, dataset)
    try:
        verdict, reason = needed(job)
    except RawFilesMissing:
        raise
    except DataError:
        # Another process may be moving files just now; the answer under the lock is the one.
        verdict = True
    if verdict:
        with _locked(job.folder, dataset.get("file_locks", True)):
            verdict, reason = needed(job)
            if verdict:
                logger.info("Preparing dataset %s in %s: %s.", job.dataset_id, job.folder, reason)
                _remove_stale(job.folder)
                _prepare(job)
                return
    logger.info(
        "Dataset %s: the split files in %s are used as they are (%s).",
        job.dataset_id,
        job.folder,
        reason,
    )
    record = read_record(job.folder)
    if record is not None:
        _warn_of_other_rows(job, sum(split["rows"] for split in record["splits"].values()))


def _prepare(job: Job) -> None:
    """Write the splits under a temporary folder and move them into place."""
    raw = job.find_raw()
    recipe = job.recipe(raw)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=job.folder))
    except OSError as error:
        raise OutputError(f"Cannot write into {job.folder}: {error}") from error
    try:
        parts = {split: temporary / path.name for split, path in job.paths.items()}
        with SplitWriter(parts, job.labels) as writer:
            job.preparer.write_splits(raw, job.raw_dir, job.options, writer)
        if job.recipe(raw) != recipe:
            raise DataError(
                f"The raw files of dataset {job.dataset_id!r} in {job.raw_dir} changed while "
                "they were read. Wait until they are complete and start again."
            )
        recipe["splits"] = {
            split: {"file": part.name, "bytes": part.stat().st_size, "rows": writer.rows[split]}
            for split, part in parts.items()
        }
        try:
            _move_into_place(job, parts, recipe)
        except OSError as error:
            raise OutputError(f"Cannot write the split files in {job.folder}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    logger.info(
        "Dataset %s is prepared; rows and positive rates against the published ones:\n%s",
        job.dataset_id,
        summary(writer, job.source),
    )
    _warn_of_other_rows(job, sum(writer.rows.values()))


def _warn_of_other_rows(job: Job, rows: int) -> None:
    """Say so where the raw files are not the whole published data set."""
    published = (job.source.get("rows") or {}).get("raw")
    if isinstance(published, int) and rows != published:
        logger.warning(
            "The raw files of dataset %s hold %s rows, the published data set %s: "
            "results on them do not compare with published ones.",
            job.dataset_id,
            f"{rows:,}",
            f"{published:,}",
        )


def _move_into_place(job: Job, parts: dict[str, Path], recipe: dict[str, Any]) -> None:
    write_record(job.folder, {"complete": False, **recipe})
    for path in job.paths.values():
        path.unlink(missing_ok=True)
    for split in ("test", "valid"):
        os.replace(parts[split], job.paths[split])
    write_record(job.folder, {"complete": True, **recipe})
    os.replace(parts["train"], job.paths["train"])


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left; called under the lock, so nobody is using it."""
    for path in folder.glob(f"{TEMPORARY}*"):
        logger.info("Removing %s, left by a run that was cut off.", path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path, required: bool) -> Iterator[None]:
    """Hold the folder's lock; the system frees it when its holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot write into {folder}, where the split files go: {error}. "
            "Choose another folder in the dataset config."
        ) from error
    with locked(folder / _LOCK, "train_data", f"another process that prepares {folder}", required):
        yield
