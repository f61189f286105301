"""One experiment id, end to end: config -> cache -> model -> train -> evaluate -> result."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
from fuxictr.pytorch.torch_utils import seed_everything
from fuxictr.utils import print_to_json

from fuxictr_stem import results
from fuxictr_stem.analysis.gate_weights import gate_places
from fuxictr_stem.config.column_words import META
from fuxictr_stem.config.experiment_config import GROUP_KEY, load_experiment
from fuxictr_stem.config.result_settings import check_settings, result_settings
from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.data.cache.open_cache import FEATURE_MAP, Cache
from fuxictr_stem.data.checks.check_leaks import warn_of_leaks
from fuxictr_stem.data.checks.unknown_ids import report_ids
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER, copy_encoder
from fuxictr_stem.data.preparers.run_job import has_data
from fuxictr_stem.data.source.raw_columns import PLACES, RawColumns, find_raw_columns, first_rows
from fuxictr_stem.distributed.rank_saving import make_saving
from fuxictr_stem.distributed.same_data import open_same_data
from fuxictr_stem.distributed.split_model import (
    build_split,
    check_same_settings,
    check_several,
    part_of,
)
from fuxictr_stem.errors import DataError, OutputError
from fuxictr_stem.init_from.copy_weights import InitialWeights
from fuxictr_stem.models.base import MultiTaskNet, parameter_counts
from fuxictr_stem.run_data import check_batches, check_device, make_loader, name_of_data, open_data
from fuxictr_stem.runtime import outputs, signals
from fuxictr_stem.runtime.locks import locked
from fuxictr_stem.runtime.logs import log_to_file
from fuxictr_stem.runtime.memory import Share, keep_freed_memory, peak_rss_bytes
from fuxictr_stem.runtime.memory_shares import Planned
from fuxictr_stem.runtime.text_table import text_table
from fuxictr_stem.runtime.versions import versions
from fuxictr_stem.training.evaluation import (
    Predictions,
    evaluate_predictions,
    predict,
    warn_of_constants,
)
from fuxictr_stem.training.memory_plan import MemoryPlan, plan_memory
from fuxictr_stem.training.predictions_file import write_predictions
from fuxictr_stem.training.ranks import Ranks
from fuxictr_stem.training.saving import Saving
from fuxictr_stem.training.trackers.adapters import make_trackers
from fuxictr_stem.training.trackers.tracker import TrackedRun
from fuxictr_stem.training.trackers.tracking import Tracking
from fuxictr_stem.training.trainer import OnEvaluation, Trainer, TrainingHistory

logger = logging.getLogger(__name__)

_PREDICTIONS = {split: f"predictions_{split}.parquet" for split in ("valid", "test")}
_KEPT_ROWS = 100
_BANNER = """

    ==================================================================================
      SYNTHETIC DATA. The official files are not there, so this run uses the dataset
      %r: made-up impressions in the same format. Its numbers say that the
      software works; they say nothing about any model on the real data.
      --no-stand-in rejects this and says where the official files come from.
    ==================================================================================
"""


def run_experiment(
    config_dir: Path,
    expid: str,
    gpu: int = -1,
    allow_stand_in: bool = True,
    overrides: Mapping[str, Any] | None = None,
    csv_path: Path | None = None,
    resume: bool = False,
    share: Share = Share(),  # noqa: B008  it cannot be changed
    init_from: Path | None = None,
    ranks: Ranks | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> dict[str, Any]:
    """Run an experiment and write its log, weights, ``result.json`` and results line.

    Another run of the experiment with the same ``model_root`` is waited for.

    Args:
        config_dir: Folder with FuxiCTR's model and dataset configs.
        expid: The experiment id.
        gpu: Number of the CUDA device, or -1 for the CPU; the other processes of a machine take the
            devices after it.
        allow_stand_in: Whether synthetic data may stand in for official files that are not there.
        overrides: Settings that replace those of the config, such as another ``seed``.
        csv_path: File of the results lines; by default the config folder's name with ``.csv``.
        resume: Whether to continue from the last saved state; a finished run's result is returned.
        share: What of the memory is this run's, where others are started with it.
        init_from: Folder of a finished run whose weights this one starts from. With ``resume``, a run
            that has a state need not find it there any more.
        ranks: The processes that train together, each of which calls this; the first writes all files.
        on_evaluation: Is called after each evaluation with the records of all so far.

    Returns:
        The content of ``result.json``.

    Raises:
        UserError: If the config, the data, the device or an output folder is not as it must be.
    """
    ranks = ranks or Ranks()
    check_device(gpu, ranks.host.count)
    params = load_experiment(config_dir, expid, overrides=overrides)
    stand_in = params.get("prepare", {}).get("stand_in") if allow_stand_in else None
    is_stand_in = stand_in is not None and not ranks.from_first(partial(has_data, params))
    if is_stand_in:
        params = load_experiment(config_dir, expid, dataset_id=stand_in, overrides=overrides)
    params["gpu"] = ranks.device(gpu)
    if ranks.count > 1:
        check_several(params)
        check_same_settings(params, init_from is not None, ranks)
    if not ranks.is_first:
        return _follow(params, share, init_from, ranks)
    csv_path = csv_path or Path(f"{config_dir.resolve().name}.csv")
    folder = _folder(params)
    log_path = folder.parent / f"{expid}.log"
    outputs.check_writable(folder, "model_root")
    outputs.check_appendable(csv_path)
    outputs.check_appendable(log_path)
    tracking = _tracking(params, folder)
    # Weights, result and log of a run belong together, so runs of one experiment take turns.
    turn = locked(folder / ".lock", "model_root", f"another run of {expid}", params["file_locks"])
    with turn, log_to_file(log_path, append=resume):
        outputs.remove_temporaries(folder)
        result = results.read(folder) if resume else None
        states, initial = folder / results.STATES, None
        if init_from is not None:
            initial = InitialWeights(init_from, folder, params, resume)
            params["init_from"] = initial.digest
        saving = make_saving(
            ranks,
            states,
            result_settings(params),
            check_settings,
            versions(),
            steps=params["state_steps"],
            minutes=params["state_minutes"],
            kept=params["states_kept"],
            resume=resume,
        )
        there = initial.digest if initial is not None and initial.source is not None else None
        ranks.from_first(lambda: [result is not None, there])
        if result is not None:
            _check_finished(params, result)
        else:
            if is_stand_in:
                logger.warning(_BANNER, params["dataset_id"])
            with closing(Planned()) as planned, tracking:
                result = _run(
                    params, saving, share, planned, initial, ranks, tracking, on_evaluation
                )
                result["stand_in"] = is_stand_in
                tracking.end(result)
            # In this order a run that is killed between the two has its line, perhaps twice.
            figures = {split: result[split] for split in _PREDICTIONS}
            results.append_csv_line(csv_path, expid, params["dataset_id"], **figures)
            outputs.write_json(folder / results.RESULT, result)
        saving.states.clear()
        if result["stand_in"]:
            logger.warning(_BANNER, result["dataset_id"])
        logger.debug("Metrics:\n%s", results.result_table(result))
        logger.info("%s", results.summary(result))
        logger.info("Result: %s, with its weights; log: %s", folder / "result.json", log_path)
    return dict(ranks.from_first(lambda: result))


def _follow(
    params: dict[str, Any], share: Share, init_from: Path | None, ranks: Ranks
) -> dict[str, Any]:
    """Take part in a run of which the first rank writes all files."""
    is_finished, there = ranks.from_first(list)
    if not is_finished:
        initial = None
        if init_from is not None and there is not None:
            initial = InitialWeights(init_from, _folder(params), params)
            initial.check_same(there, ranks.name)
        states, steps = _folder(params) / results.STATES, params["state_steps"]
        saving = make_saving(ranks, states, {}, check_settings, {}, steps=steps)
        with closing(Planned()) as planned:
            _run({**params, "verbose": 0}, saving, share, planned, initial, ranks, None)
    return dict(ranks.from_first(dict))


def _folder(params: Mapping[str, Any]) -> Path:
    """Return the folder of what an experiment leaves."""
    return Path(params["model_root"]) / params["dataset_id"] / params["model_id"]


def _check_finished(params: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Check that a finished run is of these settings, and say what it lacks."""
    folder = _folder(params)
    logger.info("--resume: this run is finished.")
    before, now = result["settings"], result_settings(params)
    if "data" in before:
        # The source files need not be there any more.
        now["data"] = name_of_data(params) or before["data"]
    check_settings(before, now, str(folder / "result.json"))
    if params["save_predictions"] and not any(
        (folder / name).is_file() for name in _PREDICTIONS.values()
    ):
        logger.warning(
            "save_predictions: the finished run has written none. Run without --resume to have "
            "them, which trains again."
        )


def _run(
    params: dict[str, Any],
    saving: Saving,
    share: Share,
    planned: Planned,
    initial: InitialWeights | None,
    ranks: Ranks,
    tracking: Tracking | None,
    on_evaluation: OnEvaluation | None = None,
) -> dict[str, Any]:
    """Prepare, train and evaluate; return what goes into ``result.json``."""
    logger.debug("Params: %s", print_to_json(params))
    seed_everything(params["seed"])
    keep_freed_memory()
    folder, tasks, start = _folder(params), task_types(params), time.monotonic()

    together = open_data(params, ranks) if params["build_together"] else None
    cache = open_same_data(
        lambda: together or open_data(params), partial(name_of_data, params), ranks
    )
    saving.settings["data"] = cache.folder.name
    if initial is not None:
        saving.start = partial(initial.take_over, encoder_folder=cache.folder)
    raw_columns = None
    if params["save_predictions"] and ranks.is_first:
        columns = params["prediction_columns"] or []
        raw_columns = find_raw_columns(params, columns, GROUP_KEY, folder)
    unknown = ranks.from_first(lambda: report_ids(cache, params))
    ranks.from_first(lambda: warn_of_leaks(cache, params))

    feature_map = cache.feature_map(params)
    plan = partial(_plan, params, cache, share, planned, ranks)
    logger.info("Setting up the model.")  # the plan's first use of an optimizer takes seconds
    # The first rank of a host keeps the splits for all, in what they leave.
    memory = ranks.host.before_first(plan)
    model = build_split(params, feature_map, ranks)
    counts = parameter_counts(model)
    logger.info("%s", _header(params, cache, counts))

    budgets = memory.data_budget, memory.device_budget
    of_ranks = ranks, ranks.host
    train = make_loader(params, model, cache, "train", *budgets, *of_ranks)
    left = budgets[0] - train.host_bytes
    valid = make_loader(params, model, cache, "valid", left, budgets[1], *of_ranks)
    on_host = train.host_bytes + valid.host_bytes
    memory.report(on_host, train.memory_bytes + valid.memory_bytes - on_host)
    planned.write(memory.host_bytes(on_host))
    check_batches(model, train)
    seconds = {"prepare": time.monotonic() - start}

    if ranks.is_first:
        # From here on an older result would contradict the weights.
        for name in (results.RESULT, results.RUN, results.ROWS, *_PREDICTIONS.values()):
            outputs.remove_file(folder / name)
        _copy_encoding(cache, folder)
    if tracking:
        tracking.run.params |= {f"params_{kind}": count for kind, count in counts.items()}
        tracking.gates = list(gate_places(model))
    trainer = Trainer(model, tasks, params["max_gradient_norm"], ranks, tracking, on_evaluation)
    history = trainer.fit(train, valid, params["epochs"], saving)
    signals.check()
    seconds["train"] = history.seconds
    del train
    gc.collect()

    start = time.monotonic()
    figures: dict[str, dict[str, float]] = {"valid": {}, "test": {}}
    for split in figures:
        if split in cache.rows:
            loader = valid
            if split == "test":
                left = memory.data_budget - valid.host_bytes
                loader = make_loader(params, model, cache, split, left, None, *of_ranks)
            predictions = ranks.gather(predict(model, loader, f"Evaluate {split}"), loader)
            finish = partial(_finish, params, cache, raw_columns, split, predictions, history)
            figures[split] = ranks.from_first(finish)
    seconds["evaluate"] = time.monotonic() - start
    # A model of another package keeps its weights as it likes.
    if isinstance(model, MultiTaskNet) and ranks.is_first:
        _keep_rows(params, cache)
        results.write_run(folder, params, saving.versions)

    return {
        "expid": params["model_id"],
        "dataset_id": params["dataset_id"],
        "model": params["model"],
        "seed": params["seed"],
        "params": counts,
        "epochs": history.epochs,
        **figures,
        "unknown": unknown,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "samples_per_second": round(history.samples_per_second, 1),
        "peak_rss_bytes": peak_rss_bytes(),
        "versions": saving.versions,
        "settings": saving.settings,
        "evaluations": history.evaluations,
        **({"init_from": saving.started} if saving.started else {}),
    }


def _finish(
    params: Mapping[str, Any],
    cache: Cache,
    raw_columns: RawColumns | None,
    split: str,
    predictions: Predictions,
    history: TrainingHistory,
) -> dict[str, float]:
    """Return the metrics of a split's predictions, look at them, and save them if that is wanted."""
    tasks = task_types(params)
    figures = evaluate_predictions(tasks, predictions, params["metrics"])
    if split == "valid":
        steps, weighted = history.evaluations[-1]["step"], bool(params["sample_weight"])
        warn_of_constants(tasks, predictions, steps, params["learning_rate"], weighted)
    if params["save_predictions"]:
        more = _raw_blocks(raw_columns, params, cache, split)
        write_predictions(_folder(params) / _PREDICTIONS[split], predictions, more)
    return figures


def _tracking(params: Mapping[str, Any], folder: Path) -> Tracking:
    """Return what shows a run to the trackers of its settings, before they start."""
    # Without the columns, whose settings would fill a page.
    settings = {
        name: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        for name, value in result_settings(params).items()
        if name not in ("feature_cols", "label_col")
    }
    group = params["tracker_group"]
    name = params["model_id"] if group is None else f"{params['model_id']}, seed {params['seed']}"
    run = TrackedRun(name, params["dataset_id"], group, folder, settings)
    return Tracking(make_trackers(params["tracker"]), run, params["tracker_steps"])


def _copy_encoding(cache: Cache, folder: Path) -> None:
    """Have in a run's folder how raw rows become the model's ids, in place of what an older run left."""
    try:
        shutil.rmtree(folder / ENCODER_FOLDER, ignore_errors=True)
        copy_encoder(cache.folder, folder / ENCODER_FOLDER)
        with outputs.replacing(folder / FEATURE_MAP) as temporary:
            shutil.copyfile(cache.folder / FEATURE_MAP, temporary)
    except OSError as error:
        raise OutputError(
            f"The encoder cannot be copied into {folder}: {error}. Free some space there, or choose "
            "another model_root."
        ) from error


def _keep_rows(params: Mapping[str, Any], cache: Cache) -> None:
    """Keep some raw rows in a run's folder, unless their files have changed."""
    folder = _folder(params)
    features = [n for n, spec in cache.feature_map(params).features.items() if spec["type"] != META]
    try:
        rows = first_rows(params, features, _KEPT_ROWS, folder)
    except (DataError, OSError, pl.exceptions.PolarsError) as error:
        logger.warning("No raw rows are kept, so the run cannot be exported: %s", error)
        return
    with outputs.replacing(folder / results.ROWS, pl.exceptions.PolarsError) as temporary:
        # With where the splits are, for what measures there once more.
        places = {key: os.path.abspath(params[key]) for key in PLACES if params.get(key)}
        rows.write_parquet(temporary, metadata=places)


def _header(params: Mapping[str, Any], cache: Cache, counts: Mapping[str, int]) -> str:
    """Return what is trained, and on what."""
    rows = ", ".join(f"{split} {count:,}" for split, count in cache.rows.items())
    amounts = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    device = "CPU" if params["gpu"] < 0 else torch.cuda.get_device_name(params["gpu"])
    lines = [
        ["model", f"{params['model']}, parameters: {amounts}"],
        ["dataset", f"{params['dataset_id']}, rows: {rows}"],
        ["tasks", ", ".join(f"{label} ({task})" for label, task in task_types(params).items())],
        ["seed", str(params["seed"])],
        ["device", device],
    ]
    return f"{params['model_id']}\n{text_table(lines, left=2, indent='  ')}"


def _raw_blocks(
    raw_columns: RawColumns | None, params: Mapping[str, Any], cache: Cache, split: str
) -> Iterator[pl.DataFrame] | None:
    """Return the raw columns to write next to a split's predictions, unless its files have changed."""
    if raw_columns is None:
        return None
    if name_of_data(params) == cache.folder.name:
        return raw_columns.blocks(split)
    logger.warning(
        "The source files were changed or removed during the run, so its predictions of %s are saved "
        "without the columns %s.",
        split,
        ", ".join(column.name for column in raw_columns.source.plan.columns),
    )
    return None


def _plan(
    params: Mapping[str, Any], cache: Cache, share: Share, planned: Planned, ranks: Ranks
) -> MemoryPlan:
    """Return what this process' part of a run takes of the memory, and note that for others."""
    with planned.turn() as elsewhere:
        part = part_of(params, cache.feature_map(params), ranks)
        memory = plan_memory(*part, share, elsewhere)
        if ranks.count > 1:
            # Their steps are not recorded.
            memory = memory._replace(footprint=memory.footprint._replace(graph=0))
        data = _most_data(params, cache, memory.data_budget) if ranks.host.is_first else 0
        planned.write(memory.host_bytes(data))
    return memory


def _most_data(params: Mapping[str, Any], cache: Cache, budget: int) -> int:
    """Return the most bytes that train and valid take in memory, before they are opened."""
    # An id of one byte takes four there.
    needed = sum(4 * cache.path(split).stat().st_size for split in ("train", "valid"))
    for_each = params.get("memory_budget")
    return min(needed, budget if for_each is None else 2 * for_each)
