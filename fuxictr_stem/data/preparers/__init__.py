"""Preparers: from the official raw files of a data set to train, valid and test CSV files."""

from __future__ import annotations

from typing import Any

from fuxictr_stem.data.preparers import kuairand, qkvideo, tiktok, tiktok_sample
from fuxictr_stem.data.preparers.job import can_be_had, job_of
from fuxictr_stem.data.preparers.preparer import Preparer, RawFilesMissing
from fuxictr_stem.data.preparers.runner import run
from fuxictr_stem.errors import ConfigError, short, suggest

PREPARERS: dict[str, Preparer] = {
    module.PREPARER.name: module.PREPARER for module in (tiktok, qkvideo, kuairand, tiktok_sample)
}


def prepare(dataset: dict[str, Any]) -> None:
    """Make the split files of a dataset config from its official raw files.

    Does nothing, and says so, when the files are there and were made in this way from these raw
    files, or when they are there and no preparer made them. Costs a few file look-ups then.

    Args:
        dataset: A dataset config with a ``prepare`` mapping: ``preparer``, ``raw_dir`` and the
            preparer's options.

    Raises:
        ConfigError: The config names no known preparer, or its paths or options cannot be.
        RawFilesMissing: The raw files are needed and not there.
        DataError: A raw file is damaged, or split files are in the way that are not ours.
        OutputError: The split files cannot be written.
    """
    run(_preparer(dataset), dataset)


def has_data(dataset: dict[str, Any]) -> bool:
    """Tell whether a dataset's splits are there or can be made; False where only raw files help.

    Args:
        dataset: As for `prepare`.

    Raises:
        ConfigError: As for `prepare`.
    """
    return can_be_had(job_of(_preparer(dataset), dataset))


def _preparer(dataset: dict[str, Any]) -> Preparer:
    dataset_id = dataset.get("dataset_id")
    spec = dataset.get("prepare")
    if not isinstance(spec, dict):
        raise ConfigError(
            f"Dataset {dataset_id!r} has no `prepare` mapping that says how its split files are "
            f"made: found {spec!r}."
        )
    name = spec.get("preparer")
    if not isinstance(name, str) or name not in PREPARERS:
        raise ConfigError(
            f"Dataset {dataset_id!r}, prepare.preparer: must be one of {', '.join(PREPARERS)}, "
            f"found {short(name)}.{suggest(str(name), PREPARERS)}"
        )
    return PREPARERS[name]


__all__ = ["PREPARERS", "Preparer", "RawFilesMissing", "has_data", "prepare"]
