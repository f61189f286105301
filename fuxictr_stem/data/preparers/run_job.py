"""Doing a job, unless it is done: one process at a time, and nothing half-made where it would be read.

Next to the split files is a record, ``prepared.json``: preparer, options, raw files with size and mtime,
and the account of the split files (`runtime.whole_folder`). The verdicts, from what is there:

    split files   record                    verdict
    none          none                      prepare
    all           none                      the user's own: used as they are
    some          none                      the user's own, incomplete: an error, nothing is touched
    all           the same recipe           used as they are, whether the raw files remain or not
    any           another recipe, or cut    prepare again
    changed       the same recipe           an error: edited or damaged, the user decides

A record of an earlier version, which wrote CSV, counts as none; the CSV files stay where they are.

Rows are written into a temporary folder. Then the record says "not finished", the old files go, test and
valid come, the record says what they are, and train, the last to come, makes the set whole: whenever a
process is killed, a file is missing or the record says that the set is not finished.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.data.preparers import kuairand, qkvideo, tiktok, tiktok_sample
from fuxictr_stem.data.preparers.job import Job, Preparer, RawFilesMissing, read_job
from fuxictr_stem.data.preparers.splits import split_table, write_splits
from fuxictr_stem.errors import DataError, OutputError, short
from fuxictr_stem.runtime import whole_folder
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.outputs import check_writable, remove_temporaries, sync, write_json

logger = logging.getLogger(__name__)

PREPARERS: dict[str, Preparer] = {
    module.PREPARER.name: module.PREPARER for module in (tiktok, qkvideo, kuairand, tiktok_sample)
}
RECORD = "prepared.json"
FORMAT = 2
"""Of the record. The first, of which no record says so, had CSV files."""
_SHOWN = 300


def prepare(dataset: Mapping[str, Any]) -> None:
    """Make the split files of a dataset config, by its ``prepare``, from the official raw files.

    Does nothing, and says so, when the files are there and were made in this way from these raw
    files, or when they are there and no preparer made them. Costs a few file look-ups then.

    Raises:
        ConfigError: The config names no known preparer, or its paths or options are wrong.
        RawFilesMissing: The raw files are needed and are not there.
        DataError: A raw file is damaged, or split files are in the way that are not ours.
        OutputError: The split files cannot be written.
    """
    job = read_job(dataset, PREPARERS)
    try:
        needed, why = _verdict(job)
    except RawFilesMissing:
        raise
    except DataError:
        # Another process may be moving files just now; the answer under the lock is the one.
        needed = True
    if needed:
        check_writable(job.folder, "train_data")
        other = f"another process that prepares {job.folder}"
        with locked(job.folder / ".prepare.lock", "train_data", other, job.file_locks):
            needed, why = _verdict(job)
            if needed:
                logger.info("Preparing dataset %s in %s: %s.", job.dataset_id, job.folder, why)
                remove_temporaries(job.folder)
                _prepare(job)
    if not needed:
        used = "Dataset %s: the split files in %s are used as they are (%s)."
        logger.info(used, job.dataset_id, job.folder, why)
    record, _ = _read_record(job)
    rows = sum((record or {}).get("rows", {}).values())
    published = (job.source.get("rows") or {}).get("raw")
    if record and isinstance(published, int) and rows != published:
        logger.warning(
            "The raw files of dataset %s hold %s rows, the published data set %s: results cannot "
            "be compared with published ones.",
            *(job.dataset_id, f"{rows:,}", f"{published:,}"),
        )


def has_data(dataset: Mapping[str, Any]) -> bool:
    """Tell whether a dataset's splits are there, were once, or can be made from its raw files."""
    job = read_job(dataset, PREPARERS)
    if any(path.exists() for path in (job.folder / RECORD, *job.paths.values())):
        return True
    try:
        _find_raw(job)
    except RawFilesMissing:
        return False
    return True


def _verdict(job: Job) -> tuple[bool, str]:
    """Return whether the splits must be prepared, and why or why not, in words."""
    record, why = _read_record(job)
    absent = [str(path) for path in job.paths.values() if not path.exists()]
    if record is None and not absent:
        return False, f"no {RECORD} describes them, so they are your own files"
    if record is None and len(absent) < len(job.paths):
        present = (str(path) for path in job.paths.values() if path.exists())
        raise DataError(
            f"Dataset {job.dataset_id!r}: {', '.join(present)} exists without {', '.join(absent)}, "
            f"and no {RECORD} says that a preparer made it, so nothing is overwritten. Add the missing "
            "files, or move the others away."
        )
    missing: RawFilesMissing | None = None
    try:
        recipe = _recipe(job, _find_raw(job))
    except RawFilesMissing as error:
        # Splits outlive their raw files: these are often deleted to save space.
        recipe = {**_recipe(job, []), "raw files": (record or {}).get("raw files")}
        missing = error
    why = why or _changes(job, record or {}, recipe)
    if why and missing:
        again = f"Dataset {job.dataset_id!r} must be prepared again ({why}), but:\n{missing}"
        raise RawFilesMissing(again) if (job.folder / RECORD).exists() else missing
    return bool(why), why or f"they match {RECORD}"


def _read_record(job: Job) -> tuple[dict[str, Any] | None, str]:
    """Return the record, None if there is none of this format, and why it asks for a preparation."""
    if not os.path.lexists(job.folder / RECORD):
        return None, "it has no split files yet"
    try:
        return whole_folder.read_account(job.folder / RECORD, FORMAT), ""
    except whole_folder.OtherFormat:
        return None, "an earlier version wrote CSV files, which stay but are no longer read"
    except whole_folder.Damaged:
        return {}, f"the last preparation was cut off, or {RECORD} is damaged"


def _changes(job: Job, record: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Say in words why recorded split files no longer serve, or return an empty string."""
    if any(not path.exists() for path in job.paths.values()):
        return "a split file is gone"
    for key, value in recipe.items():
        if record.get(key) != value:
            before, now = (json.dumps(v)[:_SHOWN] for v in (record.get(key), value))
            return f"{key} changed from {before} to {now}"
    for path in job.paths.values():
        account = record["files"][path.name]
        if whole_folder.file_damage(path, account, whole=False):
            raise DataError(
                f"{path} was changed after it was prepared: it has {path.stat().st_size:,} bytes, "
                f"{RECORD} says {account['bytes']:,}. Delete {job.folder / RECORD} to use the file as it "
                f"is, or delete {path} to have it prepared again."
            )
    return ""


def _find_raw(job: Job) -> list[Path]:
    try:
        raw = job.preparer.find_raw(job.raw_dir, job.options)
        others = [str(path) for path in raw if not path.is_file()]
    except OSError as error:
        raise DataError(
            f"prepare.raw_dir: the folder of the raw files cannot be read: {short(str(job.raw_dir))}: "
            f"{error.strerror}. Name another folder, or fix its permissions."
        ) from error
    if others:
        raise DataError(
            f"{', '.join(others)}: a raw file must be a file, found a folder, a device "
            "or a link to nothing. Put the official file there."
        )
    return raw


def _recipe(job: Job, raw: list[Path]) -> dict[str, Any]:
    """Return everything that decides what the split files hold, as JSON."""
    stats = {path.name: path.stat() for path in raw}
    permissions = job.preparer.permissions
    return {
        "preparer": job.preparer.name,
        "version": job.preparer.version,
        "options": {k: v for k, v in job.options.items() if k not in permissions},
        "raw files": {
            name: {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            for name, stat in stats.items()
        },
        "splits": {split: path.name for split, path in job.paths.items()},
    }


def _prepare(job: Job) -> None:
    """Write the splits into a temporary folder and put them in place."""
    raw = _find_raw(job)
    recipe = _recipe(job, raw)
    try:
        with whole_folder.fresh_folder(job.folder / RECORD) as fresh:
            parts = {split: fresh / path.name for split, path in job.paths.items()}
            blocks = job.preparer.read(raw, job.raw_dir, job.options)
            counts = write_splits(blocks, parts, job.labels)
            if _recipe(job, raw) != recipe:
                raise DataError(
                    f"The raw files of dataset {job.dataset_id!r} in {job.raw_dir} changed while "
                    "they were read. Wait until they are complete and start again."
                )
            rows = {split: count["rows"] for split, count in counts.items()}
            record = whole_folder.sealed({"format": FORMAT, **recipe, "rows": rows}, parts.values())
            sync(fresh)
            write_json(job.folder / RECORD, {"format": FORMAT, "finished": False})
            for path in job.paths.values():
                path.unlink(missing_ok=True)
            for split in ("test", "valid"):
                os.replace(parts[split], job.paths[split])
            write_json(job.folder / RECORD, record)
            os.replace(parts["train"], job.paths["train"])
    except OSError as error:
        raise OutputError(f"The split files in {job.folder} cannot be written: {error}.") from error
    logger.info(
        "Dataset %s is prepared; rows and positive rates compared with the published ones:\n%s",
        job.dataset_id,
        split_table(counts, job.labels, job.source),
    )
