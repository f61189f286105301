"""Entries of a FuxiCTR checkout's model_zoo: the same experiment ids under either engine."""

from __future__ import annotations

import argparse
import gc
import glob
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fuxictr_stem import results
from fuxictr_stem.config.column_words import function_call, labels_of_files
from fuxictr_stem.errors import ConfigError, DataError, UserError
from fuxictr_stem.runtime import outputs
from fuxictr_stem.runtime.guarded import RESUME_GOES_ON, run_guarded
from fuxictr_stem.runtime.locks import locked

if TYPE_CHECKING:
    from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)

_OTHER_LOADER = "Run with --loader h5, or with --engine fuxictr_stem."


def main(model_zoo: ModuleType, argv: Sequence[str] | None = None) -> int:
    """Run an experiment id with FuxiCTR's options, under our engine or FuxiCTR's; return the exit code."""
    parser = argparse.ArgumentParser(description="Run one experiment id.")
    parser.add_argument("--config", type=Path, default=Path("./config/"))
    parser.add_argument("--expid", required=True)
    parser.add_argument("--gpu", type=int, default=-1, help="the CUDA device; -1 is the CPU")
    parser.add_argument(
        "--engine",
        choices=["fuxictr_stem", "fuxictr"],
        default="fuxictr_stem",
        help="whose preprocessing, loader and training loop to use",
    )
    parser.add_argument(
        "--loader",
        choices=["fuxictr", "h5"],
        default="fuxictr",
        help="with --engine fuxictr: FuxiCTR's preprocessing and loader, or our h5 cache and loader",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last saved state of a stopped run"
    )
    args = parser.parse_args(argv)

    def run(ranks: Ranks) -> None:
        from fuxictr_stem.experiment import run_experiment

        if args.engine == "fuxictr_stem":
            options = {"resume": args.resume, "ranks": ranks}
            result = run_experiment(args.config, args.expid, args.gpu, **options)
            if ranks.is_first:
                results.show(result)
        elif ranks.count > 1:
            raise ConfigError("--engine fuxictr works in one process. Start it without torchrun.")
        elif args.resume:
            raise ConfigError(
                "--resume: FuxiCTR's training loop saves no states. Leave it out, or leave out "
                "--engine fuxictr."
            )
        else:
            our_loader = args.loader == "h5"
            figures = run_under_fuxictr(model_zoo, args.config, args.expid, args.gpu, our_loader)
            results.show(figures)

    def run_on_all() -> None:
        from fuxictr_stem.distributed.session import run_on_ranks

        run_on_ranks(run, gpu=args.gpu)

    return run_guarded(run_on_all, RESUME_GOES_ON if args.engine == "fuxictr_stem" else "")


def run_under_fuxictr(
    model_zoo: ModuleType, config_dir: Path, expid: str, gpu: int = -1, our_loader: bool = False
) -> dict[str, dict[str, float]]:
    """Run an experiment id as FuxiCTR's own runner does, after our checks; return valid and test metrics.

    Works with the PyPI release, whose ``RankDataLoader`` returns the loaders, and with a source checkout,
    where it is a class with ``make_iterator``. With ``our_loader``, our cache and loader feed FuxiCTR's
    loop.
    """
    from fuxictr_stem.config.experiment_config import load_experiment
    from fuxictr_stem.run_data import check_device

    check_device(gpu)
    params: dict[str, Any] = {**load_experiment(config_dir, expid), "gpu": gpu}
    csv_path = Path(f"{config_dir.resolve().name}.csv")
    folder = Path(params["model_root"]) / params["dataset_id"] / expid
    outputs.check_writable(folder, "model_root")
    outputs.check_appendable(csv_path)
    other = f"another run of {expid}"
    with locked(folder / ".lock", "model_root", other, params["file_locks"]):
        outputs.remove_temporaries(folder)
        # It would contradict the weights.
        outputs.remove_file(folder / "result.json")
        figures = _run(model_zoo, params, our_loader)
        results.append_csv_line(csv_path, expid, params["dataset_id"], **figures)
    return figures


def _run(
    model_zoo: ModuleType, params: dict[str, Any], our_loader: bool
) -> dict[str, dict[str, float]]:
    """Prepare, train and evaluate by FuxiCTR's parts."""
    from fuxictr.pytorch.dataloaders import RankDataLoader
    from fuxictr.pytorch.torch_utils import seed_everything

    from fuxictr_stem.data.loading.loader import H5Loader
    from fuxictr_stem.run_data import open_data
    from fuxictr_stem.training.nan_guard import finite_losses

    tasks, device = ", ".join(params["task_labels"]), "CPU" if params["gpu"] < 0 else "CUDA"
    logger.info(
        f"{params['model_id']} under FuxiCTR's loop: {params['model']} on {params['dataset_id']}, "
        f"tasks {tasks}, seed {params['seed']}, {device}"
    )
    seed_everything(params["seed"])
    if our_loader:
        cache = open_data(params)
        feature_map = cache.feature_map(params)
        # A model that knows no task_labels trains the feature map's labels.
        feature_map.labels = list(params["task_labels"])
        params |= {f"{split}_data": str(cache.path(split)) for split in cache.rows}
        params["data_loader"] = H5Loader
    else:
        feature_map = _build_with_fuxictr(params)

    def loaders(stage: str) -> Any:
        made = RankDataLoader(feature_map, stage=stage, **params)
        return made.make_iterator() if hasattr(made, "make_iterator") else made

    model = getattr(model_zoo, params["model"])(feature_map, **params)
    model.count_parameters()
    train, valid = loaders("train")
    with finite_losses(model):
        model.fit(train, validation_data=valid, **params)
    figures = {"valid": model.evaluate(valid), "test": {}}
    del train, valid
    gc.collect()
    if params.get("test_data"):
        figures["test"] = model.evaluate(loaders("test"))
    return figures


def _unsupported(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a config FuxiCTR's preprocessing does not know; ``label_col`` is that of the files."""
    names = [col["name"] for col in params["label_col"]]
    for label in params["task_labels"]:
        if label not in names:
            yield (
                f"task_labels: FuxiCTR's preprocessing cannot combine labels to {label!r}. Use --engine "
                f"fuxictr_stem, or FuxiCTR's engine with --loader h5."
            )
    missing = [col["name"] for col in params["label_col"] if "missing" in col]
    if missing:
        yield (
            f"label_col: FuxiCTR's preprocessing turns the missing labels of {', '.join(missing)} into "
            f"0. {_OTHER_LOADER}"
        )
    keys = [key for key in ("csv_quote", "csv_escape", "null_values") if key in params]
    if keys:
        yield f"{', '.join(keys)}: FuxiCTR's preprocessing does not have this key. {_OTHER_LOADER}"
    for col in params["feature_cols"]:
        if function_call(col.get("preprocess"), col["name"]):
            yield (
                f"feature_cols: FuxiCTR's own preprocessing does not know the function that makes "
                f"{col['name']!r}. {_OTHER_LOADER}"
            )


def _other_files(params: Mapping[str, Any], files: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """Yield the paths by which FuxiCTR's ``read_data`` would read other files than ours."""
    data_format = params["data_format"]
    for split, paths in files.items():
        path = params[f"{split}_data"]
        pattern = path if path.endswith(data_format) else os.path.join(path, f"*.{data_format}")
        different = set(map(Path, glob.glob(pattern))).symmetric_difference(paths)
        if different:
            yield (
                f"{split}_data: FuxiCTR's preprocessing and ours find different files by {path!r}, such "
                f"as {str(min(different))!r}, which only one of the two reads. {_OTHER_LOADER}"
            )


def _build_with_fuxictr(params: dict[str, Any]) -> Any:
    """Run FuxiCTR's preprocessing, put its files into the params, and return the feature map.

    FuxiCTR takes a folder with a feature map for complete and current. So each state of config and
    sources gets a folder of its own, and one that died half-way is removed.
    """
    from fuxictr.preprocess import FeatureProcessor, build_dataset

    from fuxictr_stem.config.tasks import task_types
    from fuxictr_stem.data.cache.fingerprint import fingerprint
    from fuxictr_stem.data.cache.open_cache import load_feature_map
    from fuxictr_stem.data.checks.check_labels import check_labels
    from fuxictr_stem.data.source.column_plan import plan_columns
    from fuxictr_stem.data.source.files import find_files
    from fuxictr_stem.data.source.open_source import open_source
    from fuxictr_stem.data.source.validate import check_source

    params["label_col"] = labels_of_files(params["label_col"])
    files = find_files(params)
    problems = [*_unsupported(params), *_other_files(params, files)]
    if problems:
        raise ConfigError("\n".join(problems))
    # FuxiCTR would train on missing labels as on 0, and end in a traceback at text in a number.
    _, stats = check_source(open_source(plan_columns(params), files))
    label_stats = {split: split_stats.labels for split, split_stats in stats.items()}
    check_labels(label_stats, task_types(params), params["metrics"])
    data_root = Path(params["data_root"]) / params["dataset_id"]
    data_root /= f"fuxictr-{fingerprint(params, files)}"
    folder = data_root / params["dataset_id"]
    outputs.check_writable(data_root, "data_root")
    other = "another run that preprocesses these data"
    with locked(data_root / ".lock", "data_root", other, params["file_locks"]):
        if not all((folder / f"{split}.parquet").exists() for split in files):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            processor = FeatureProcessor(**{**params, "data_root": str(data_root)})
            built = build_dataset(processor, **params)
        except UserError:
            raise
        except Exception as error:
            raise DataError(
                f"dataset {params['dataset_id']!r}: FuxiCTR's preprocessing stopped: {error!r}. "
                f"Run with --loader h5, or with --engine fuxictr_stem, which name what is wrong."
            ) from error
    params |= dict(zip(("train_data", "valid_data", "test_data"), built, strict=True))
    return load_feature_map(params["dataset_id"], folder, params)
