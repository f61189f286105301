"""What a cache depends on, as one short hexadecimal name."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import fuxictr

from fuxictr_stem.config.result_settings import decisive_columns
from fuxictr_stem.data.source.derived_columns import identities
from fuxictr_stem.data.source.dialect import dialect_of
from fuxictr_stem.data.source.source_column import folder_values
from fuxictr_stem.errors import DataError
from fuxictr_stem.runtime.whole_folder import file_digest

FORMAT = 5
"""Number of the cache's layout; a change of it makes every older cache stale."""

_MIB = 1 << 20
WHOLE_BYTES = 64 * _MIB
"""Files up to this size count by their whole content."""

_SAMPLES = 64


def fingerprint(dataset: Mapping[str, Any], files: Mapping[str, Iterable[Path]]) -> str:
    """Name the cache of a normalised dataset config and its source files by 16 hexadecimal digits.

    The name depends on the parts of the config that decide the encoding, keys at their default left
    out (so that a key that a later version adds leaves caches valid), on the content of the
    source files (not on where they are, but for folders named ``column=value``), on the cache's
    format and on FuxiCTR's version. A file beyond 64 MiB counts by its size, its time of change and
    64 evenly spread blocks of 1 MiB.

    Raises:
        DataError: A file cannot be read.
    """

    @functools.cache
    def digest(path: Path) -> str:
        try:
            return content_digest(path)
        except OSError as error:
            raise DataError(
                f"dataset {dataset['dataset_id']!r}: {path} cannot be read: {error.strerror}."
            ) from error

    features = []
    for col in decisive_columns(dataset, "feature_cols"):
        path = col.get("pretrained_emb")
        if path and col.get("active", True):
            suffix = Path(path).suffix
            col = {**col, "pretrained_emb": digest(Path(path)) + suffix}
        features.append(col)
    depends = {
        "format": FORMAT,
        "fuxictr": fuxictr.__version__,
        "feature_cols": features,
        "label_col": decisive_columns(dataset, "label_col"),
        "min_categr_count": dataset.get("min_categr_count", 1),
        "data_format": dataset["data_format"],
        "csv": dataclasses.astuple(dialect_of(dataset)),
        "null_values": sorted(set(dataset.get("null_values") or ())),
        "group_id": dataset.get("group_id"),
        "files": {
            split: [[digest(path), folder_values(path)] for path in paths]
            for split, paths in files.items()
        },
    }
    if functions := identities(dataset["feature_cols"]):
        depends["functions"] = functions
    text = json.dumps(depends, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or, beyond 64 MiB, of its size, time and sampled blocks."""
    status = path.stat()
    if status.st_size <= WHOLE_BYTES:
        return file_digest(path)
    sha = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        sha.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
        last = status.st_size - _MIB
        for i in range(_SAMPLES):
            file.seek(last * i // (_SAMPLES - 1))
            sha.update(file.read(_MIB))
    return f"sampled-{sha.hexdigest()}"
