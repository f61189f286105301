"""The folder of a run from Python: whether it may be written, and how a new config takes its place.

It holds ``config/``, ``data/`` (rows that were given as frames), ``cache/`` and ``checkpoints/``. A
finished run is replaced only if the caller says so, and stays until training of the new one begins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fuxictr_stem import results
from fuxictr_stem.config.experiment_config import list_experiments, load_experiment
from fuxictr_stem.config.result_settings import check_settings, result_settings
from fuxictr_stem.config.yaml_files import read_mapping
from fuxictr_stem.data.cache.cache_folder import is_cache
from fuxictr_stem.data.cache.cache_folder import remove as remove_cache
from fuxictr_stem.data.source.files import SPLITS
from fuxictr_stem.errors import OutputError
from fuxictr_stem.frames.config_files import CONFIGS, MARK
from fuxictr_stem.runtime.outputs import final_name, temporaries


def check_free(out: Path, run: Path, overwrite: bool, resume: bool) -> None:
    """Reject a folder whose content must stay; ``run`` is where the new run will be.

    Raises:
        OutputError: It holds a finished run, or configs of another origin.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"out: {out} is not a folder. Choose another out.")
    config = out / "config"
    # The folder is replaced as a whole.
    inside = sorted(config.iterdir()) if config.is_dir() else []
    foreign = [path for path in inside if path.name not in CONFIGS or not _is_ours(path)]
    if foreign:
        raise OutputError(
            f"out: {foreign[0]} was not written by fuxictr_stem.fit, so nothing is overwritten. "
            "Choose another out."
        )
    finished = [path for path in (run, *runs_in_place(out)) if (path / "result.json").exists()]
    if finished and not (overwrite or resume):
        raise OutputError(
            f"out: {out} holds a finished run ({finished[0].name}). Choose another out, or pass "
            "overwrite=True to replace it, or resume=True to return it if data and settings are "
            f"the same. fuxictr_stem.load({str(finished[0])!r}) opens it."
        )


def runs_in_place(out: Path) -> list[Path]:
    """Return the folders of the runs that the configs in place name."""
    config = out / "config" / CONFIGS[0]
    experiments = read_mapping(config) if config.exists() else {}
    return [
        out / "checkpoints" / str(settings["dataset_id"]) / expid
        for expid, settings in experiments.items()
        if isinstance(settings, dict) and "dataset_id" in settings
    ]


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def check_same(out: Path, run: Path, params: Mapping[str, Any], init_from: str | None) -> None:
    """Reject continuing a run of other settings or rows than the configs in place say.

    ``params`` are those of the new call, checked; ``init_from`` is the digest of the weights that it starts
    from.

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
    account = results.last_account(run)
    if account is not None:
        before["init_from"], now["init_from"] = account["settings"].get("init_from"), init_from
    check_settings(before, now, str(config))


def remove_others(
    out: Path, before: Collection[Path], params: Mapping[str, Any], cache: str
) -> None:
    """Remove what the runs before this one have left, not its ``cache``; files of another origin stay."""
    root = Path(params["model_root"])
    kept = root / params["dataset_id"] / params["model_id"]
    for run in before:
        if run != kept and run.is_relative_to(root):
            shutil.rmtree(run, ignore_errors=True)
            run.with_name(f"{run.name}.log").unlink(missing_ok=True)
    for rows in _folders(out / "data", Path(params["train_data"]).parent.name):
        if {path.name for path in rows.iterdir()} <= {f"{split}.parquet" for split in SPLITS}:
            shutil.rmtree(rows, ignore_errors=True)
    for folder in _folders(Path(params["data_root"]) / params["dataset_id"], cache):
        remove_cache(folder)


def _folders(above: Path, kept: str) -> list[Path]:
    """Return the folders within one that are named by their content, but for the one that is kept."""
    inside = above.iterdir() if above.is_dir() else ()
    return [p for p in inside if p.is_dir() and is_cache(p.name) and p.name != kept]


def remove_leftovers(out: Path) -> None:
    """Remove what a killed call has left half-written."""
    for folder in (out, out / "data"):
        for path in temporaries(folder) if folder.is_dir() else ():
            name = final_name(path.name)
            if name in ("config", "splits") or is_cache(name):
                shutil.rmtree(path, ignore_errors=True)
