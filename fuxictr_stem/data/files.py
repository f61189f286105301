"""The files of each split, found as FuxiCTR finds them.

A path is a file, or a folder whose parts are read in the order of their names.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.data.report import refuse
from fuxictr_stem.errors import DataError, suggest

SPLITS = ("train", "valid", "test")


def find_files(dataset: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Find the files of each split of a dataset config.

    Args:
        dataset: The normalised dataset config.

    Returns:
        The files of train, valid and (where there is one) test, each in reading order.

    Raises:
        DataError: A file or part is absent or empty; all of them are named.
    """
    problems: list[str] = []
    files: dict[str, list[Path]] = {}
    for split in SPLITS:
        given = dataset.get(f"{split}_data")
        if given:
            try:
                files[split], found = _files_of(str(given), dataset["data_format"])
            except OSError as error:
                found = [f"{str(given)!r} cannot be read: {error.strerror}."]
            problems += [f"{split}_data: {problem}" for problem in found]
        elif split != "test":
            problems.append(f"{split}_data is not set; it names the {split} file or folder.")
    for col in dataset["feature_cols"]:
        path = col.get("pretrained_emb")
        if path and col.get("active", True) and not Path(path).is_file():
            problems.append(f"pretrained_emb of column {col['name']!r}: no file {path!r}.")
    if problems:
        refuse(DataError, f"dataset {dataset['dataset_id']!r}", problems)
    return files


def _files_of(given: str, data_format: str) -> tuple[list[Path], list[str]]:
    path, suffix = Path(given), f".{data_format}"
    # Not of Path: it raises where a link leads to itself.
    is_file, is_folder = os.path.isfile(path), os.path.isdir(path)
    if is_file and not given.endswith(suffix):
        return [], [
            f"{given!r} is a file that does not end with {suffix} (data_format: {data_format})."
        ]
    if is_folder:
        parts = sorted(path.glob(f"*{suffix}"), key=str)
        if not parts:
            return [], [
                f"folder {given!r} has no parts: looked for {os.path.realpath(path)}/*{suffix}."
            ]
    elif is_file:
        parts = [path]
    else:
        pattern = given if given.endswith(suffix) else str(path / f"*{suffix}")
        parts = [Path(name) for name in sorted(glob.glob(pattern))]
    if not parts:
        what = "file" if given.endswith(suffix) else f"folder of *{suffix} parts"
        near = [p.name for p in path.parent.iterdir()] if os.path.isdir(path.parent) else []
        missing = f"{given!r} does not exist (looked for the {what} {os.path.realpath(path)})."
        return [], [missing + suggest(path.name, near)]
    empty = [part for part in parts if part.stat().st_size == 0]
    return parts, [f"{str(part)!r} is empty (0 bytes)." for part in empty]
