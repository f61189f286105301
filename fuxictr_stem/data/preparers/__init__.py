"""Preparers: from the official raw files of a data set to train, valid and test as parquet.

One way through: `job` reads what a dataset config asks for; `run_job` finds out whether that is done, and
otherwise does it: the data set's preparer (`tiktok`, `qkvideo`, `kuairand`, `tiktok_sample`) reads its
files by `raw` and says of each row where it goes, `splits` writes and counts the rows, and a record says
what they were made from. A preparer is a declaration of columns and options, and a rule of splitting.
"""

from __future__ import annotations

from typing import Any

from fuxictr_stem.data.preparers import kuairand, qkvideo, tiktok, tiktok_sample
from fuxictr_stem.data.preparers.job import Preparer, RawFilesMissing, read_job
from fuxictr_stem.data.preparers.run_job import can_be_had, run

PREPARERS: dict[str, Preparer] = {
    module.PREPARER.name: module.PREPARER for module in (tiktok, qkvideo, kuairand, tiktok_sample)
}


def prepare(dataset: dict[str, Any]) -> None:
    """Make the split files of a dataset config, by its ``prepare``, from the official raw files.

    Does nothing, and says so, when the files are there and were made in this way from these raw
    files, or when they are there and no preparer made them. Costs a few file look-ups then.

    Raises:
        ConfigError: The config names no known preparer, or its paths or options are wrong.
        RawFilesMissing: The raw files are needed and are not there.
        DataError: A raw file is damaged, or split files are in the way that are not ours.
        OutputError: The split files cannot be written.
    """
    run(read_job(dataset, PREPARERS))


def has_data(dataset: dict[str, Any]) -> bool:
    """Tell whether a dataset's splits are there or can be made; False where only raw files help."""
    return can_be_had(read_job(dataset, PREPARERS))


__all__ = ["PREPARERS", "Preparer", "RawFilesMissing", "has_data", "prepare"]
