"""The folder of a run from Python: whether it may be written, and how a new config takes its place.

It holds ``config/``, ``data/`` (rows that were given as frames), ``cache/`` and ``checkpoints/``. A
finished run is replaced only if the caller says so, and stays until training of the new one begins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem.config.decisive import check_settings, result_settings
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import OutputError
from fuxictr_stem.frames.config_files import MARK
from fuxictr_stem.runtime.outputs import remove_temporaries, sync, temporary_name

CONFIGS = ("model_config.yaml", "dataset_config.yaml")


def check_free(out: Path, overwrite: bool, resume: bool) -> None:
    """Reject a folder whose content must stay.

    Raises:
        OutputError: It holds a finished run, or configs of another origin.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"out: {out} is no folder. Choose another out.")
    config = out / "config"
    others = [config / kind for kind in ("model_config", "dataset_config")]
    foreign = [path for path in others if path.exists()]
    foreign += [path for name in CONFIGS if (path := config / name).exists() and not _is_ours(path)]
    if foreign:
        raise OutputError(
            f"out: {foreign[0]} was not written by fuxictr_stem.fit, and stays as it is. Choose another "
            "out."
        )
    finished = sorted((out / "checkpoints").glob("*/*/result.json"))
    if finished and not (overwrite or resume):
        raise OutputError(
            f"out: {out} holds a finished run ({finished[0].parent.name}). Choose another out; or "
            f"overwrite=True replaces it, resume=True returns it if it is of the same data and settings. "
            f"fuxictr_stem.load({str(finished[0].parent)!r}) opens it."
        )


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def check_same(out: Path, params: Mapping[str, Any]) -> None:
    """Reject to go on with a run of other settings or rows than the configs in place say.

    Args:
        out: The run's folder.
        params: The checked parameters of the new call.

    Raises:
        ConfigError: With all that differs.
    """
    config = out / "config"
    if not (config / CONFIGS[0]).exists():
        return
    ids = list_experiments(config)
    before, now = (
        {
            **result_settings({**side, "gpu": -1}),
            "data": [side.get(f"{split}_data") for split in SPLITS],
        }
        for side in (load_experiment(config, ids[0]), params)
    )
    check_settings(before, now, str(config))


def put_config(fresh: Path, out: Path) -> None:
    """Have a new folder of configs take the place of the one before, if there is one.

    Raises:
        OutputError: It cannot be put there.
    """
    place, before = out / "config", temporary_name(out / "config")
    try:
        sync(fresh)
        if place.exists():
            place.rename(before)
        fresh.rename(place)
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"out: {place} cannot be written: {error}.") from error


def remove_others(out: Path, params: Mapping[str, Any], cache: str) -> None:
    """Remove what runs before have left: other checkpoints, rows and caches than those of this run."""
    run = Path(params["model_root"]) / params["dataset_id"]
    for folder, kept in (
        (out / "checkpoints", params["dataset_id"]),
        (run, params["model_id"]),
        (out / "data", Path(params["train_data"]).parent.name),
        (Path(params["data_root"]) / params["dataset_id"], cache),
    ):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and path.name != kept:
                shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(out: Path) -> None:
    """Remove what a killed call has left half-written."""
    for folder in (out, out / "data"):
        if folder.is_dir():
            remove_temporaries(folder)
