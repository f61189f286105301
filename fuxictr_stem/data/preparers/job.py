"""What one dataset config asks of its preparer, and whether its split files already are that.

Beside the split files lies a record, ``prepared.json``: preparer, options, raw files with size and
mtime, rows and bytes of each split. The verdicts, from what is there:

    split files   record                    verdict
    none          none                      prepare
    all           none                      the user's own: used as they are
    some          none                      the user's own, incomplete: an error, nothing is touched
    all           the same recipe           used as they are, whether the raw files remain or not
    any           another recipe, or cut    prepare again
    changed       the same recipe           an error: edited or damaged, the user decides
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_stem.config.nesting import labels_of_files
from fuxictr_stem.data.preparers.preparer import PERMISSION, Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.splits import SPLITS
from fuxictr_stem.data.source.dialect import Dialect, dialect_of
from fuxictr_stem.errors import ConfigError, DataError, short

RECORD = "prepared.json"
TEMPORARY = ".preparing-"


@dataclass(frozen=True)
class Job:
    """One dataset config's wish."""

    dataset_id: str
    preparer: Preparer
    options: Any
    raw_dir: Path
    paths: dict[str, Path]
    labels: list[str]
    source: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the split files."""
        return self.paths["train"].parent

    def find_raw(self) -> list[Path]:
        """Return the raw files.

        Raises:
            RawFilesMissing: They are not there.
            DataError: One is a folder or the like, or they cannot be looked for.
        """
        try:
            raw = self.preparer.find_raw(self.raw_dir, self.options)
            others = [path for path in raw if not path.is_file()]
        except OSError as error:
            raise DataError(
                f"prepare.raw_dir: the raw files cannot be looked for in {short(str(self.raw_dir))}: "
                f"{error.strerror}. Name another folder, or fix its permissions."
            ) from error
        if others:
            raise DataError(
                f"{', '.join(map(str, others))}: a raw file must be a file, found a folder, a device "
                "or a link to nothing. Put the official file there."
            )
        return raw

    def recipe(self, raw: list[Path]) -> dict[str, Any]:
        """Return everything that decides what the split files hold."""
        stats = {path.name: path.stat() for path in raw}
        return {
            "preparer": self.preparer.name,
            "version": self.preparer.version,
            "options": {
                field.name: getattr(self.options, field.name)
                for field in dataclasses.fields(self.options)
                if PERMISSION not in field.metadata
            },
            "raw": {
                name: {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
                for name, stat in stats.items()
            },
        }


def job_of(preparer: Preparer, dataset: dict[str, Any]) -> Job:
    """Read a dataset config.

    Raises:
        ConfigError: Its paths or options cannot be; all problems in one message.
    """
    spec = dataset["prepare"]
    dataset_id = str(dataset.get("dataset_id", preparer.name))
    problems = []
    if not spec.get("raw_dir"):
        problems.append("prepare.raw_dir: the folder of the raw files is missing.")
    if dataset.get("data_format", "csv") != "csv":
        problems.append(
            f"data_format: preparers write csv, found {dataset['data_format']!r}. "
            "Set it to csv, or remove `prepare` to use files of your own."
        )
    if dialect_of(dataset) != Dialect():
        problems.append(
            "sep, csv_quote, csv_escape: preparers write csv with ',' and '\"', and no escape. Leave "
            "these keys out, or remove `prepare` to use files of your own."
        )
    paths = {split: Path(str(dataset.get(f"{split}_data") or "")) for split in SPLITS}
    for split, path in paths.items():
        if path.suffix != ".csv":
            problems.append(
                f"{split}_data: a dataset with `prepare` names one .csv file per split, found "
                f"{dataset.get(f'{split}_data')!r}. Remove `prepare` to use files of your own."
            )
    if len({path.parent for path in paths.values()}) > 1 or len(set(paths.values())) < len(paths):
        problems.append(
            "train_data, valid_data, test_data: must be three files in one folder, found "
            + ", ".join(str(path) for path in paths.values())
            + "."
        )
    options = None
    try:
        options = preparer.parse_options(spec)
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError(f"Dataset {dataset_id!r}:\n" + "\n".join(problems))
    label_col = dataset.get("label_col", [])
    listed = label_col if isinstance(label_col, list) else [label_col]
    return Job(
        dataset_id=dataset_id,
        preparer=preparer,
        options=options,
        raw_dir=Path(spec["raw_dir"]),
        paths=paths,
        labels=[c["name"] for c in labels_of_files(listed)],
        source=dataset.get("source") or {},
    )


def can_be_had(job: Job) -> bool:
    """Tell whether the splits are there, were there once, or can be made from the raw files."""
    if read_record(job.folder) is not None or any(p.exists() for p in job.paths.values()):
        return True
    try:
        job.find_raw()
    except RawFilesMissing:
        return False
    return True


def needed(job: Job) -> tuple[bool, str]:
    """Return whether the splits must be prepared, and why or why not, in words.

    Raises:
        RawFilesMissing: They must, and the raw files are not there.
        DataError: Split files are in the way that are not the preparer's own.
    """
    present = [path for path in job.paths.values() if path.exists()]
    record = read_record(job.folder)
    if record is None and present:
        if len(present) == len(job.paths):
            return False, f"no {RECORD} beside them: taken as your own files"
        absent = [str(path) for path in job.paths.values() if path not in present]
        raise DataError(
            f"Dataset {job.dataset_id!r}: {', '.join(map(str, present))} exists without "
            f"{', '.join(absent)}, and no {RECORD} says that a preparer made it, so nothing is "
            "overwritten. Add the missing files, or move the others away."
        )
    reason = "they are not there" if record is None else _changes(job, record, len(present))
    if not reason:
        return False, f"they match {RECORD}"
    try:
        job.find_raw()
    except RawFilesMissing as error:
        if record is None:
            raise
        raise RawFilesMissing(
            f"Dataset {job.dataset_id!r} must be prepared again ({reason}), but:\n{error}"
        ) from None
    return True, reason


def _changes(job: Job, record: dict[str, Any], present: int) -> str:
    """Say in words why recorded split files no longer serve, or return an empty string."""
    if not record.get("complete"):
        return f"the last preparation was cut off, or {RECORD} is damaged"
    if present < len(job.paths):
        return "a split file is gone"
    try:
        wanted = job.recipe(job.find_raw())
    except RawFilesMissing:
        # Splits outlive their raw files: these are often deleted to save space.
        wanted = {**job.recipe([]), "raw": record.get("raw")}
    for key, value in wanted.items():
        if record.get(key) != value:
            what = {"raw": "raw files"}.get(key, key)
            return f"{what} changed from {_short(record.get(key))} to {_short(value)}"
    for split, path in job.paths.items():
        recorded = record["splits"][split]
        if recorded["file"] != path.name:
            return f"{split}_data was {recorded['file']} and is {path.name}"
        if recorded["bytes"] != path.stat().st_size:
            raise DataError(
                f"{path} was changed after it was prepared: it has {path.stat().st_size:,} bytes, "
                f"{RECORD} says {recorded['bytes']:,}. Delete {path.parent / RECORD} to use the "
                f"file as it is, or delete {path} to have it prepared again."
            )
    return ""


def _short(value: Any, limit: int = 300) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[:limit] + "..."


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record, an empty one if it is damaged, None if there is none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{folder / RECORD} cannot be read: {error}") from error
    except (ValueError, RecursionError):
        return {}
    return record if _is_whole(record) else {}


def _is_whole(record: Any) -> bool:
    """Tell whether a record has the form in which it is written."""
    splits = record.get("splits") if isinstance(record, dict) else None
    return isinstance(splits, dict) and all(
        isinstance(part := splits.get(split), dict)
        and isinstance(part.get("file"), str)
        and all(type(part.get(key)) is int for key in ("bytes", "rows"))
        for split in SPLITS
    )


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Replace the record."""
    temporary = folder / f"{TEMPORARY}{RECORD}"
    temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / RECORD)
