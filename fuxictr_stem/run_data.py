"""The data of a run: its splits prepared, cached and checked, and their batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from fuxictr.pytorch.models import MultiTaskModel
from torch import nn

from fuxictr_stem.config.tasks import task_types
from fuxictr_stem.data.cache.fingerprint import fingerprint
from fuxictr_stem.data.cache.open_cache import Cache, open_cache
from fuxictr_stem.data.checks.check_labels import check_groups, check_labels, check_samples
from fuxictr_stem.data.loading.loader import H5Loader
from fuxictr_stem.data.preparers.run_job import prepare
from fuxictr_stem.data.source.files import find_files
from fuxictr_stem.errors import ConfigError, UserError
from fuxictr_stem.metrics import METRICS
from fuxictr_stem.runtime.group import ALONE, Group, Member


def open_data(params: dict[str, Any], group: Group = ALONE) -> Cache:
    """Prepare an experiment's splits if need be, open their cache, and check labels and groups.

    A group of processes, each of which calls this, builds the cache together.
    """
    if "prepare" in params:
        group.after_first(lambda: prepare(params))
    tasks = task_types(params)
    cache = open_cache(params, group)
    check_labels(cache.labels, tasks, params["metrics"])
    check_samples(cache, tasks, params["sample_spaces"], params["sample_weight"], params["metrics"])
    if any(METRICS[name].group_weight for name in params["metrics"]):
        check_groups(cache, params["group_id"], tasks, params["sample_spaces"])
    return cache


def name_of_data(params: Mapping[str, Any]) -> str | None:
    """Return the name of the cache that a run would open, or None where its files are gone."""
    try:
        return fingerprint(params, find_files(params))
    except UserError:
        return None


def check_device(gpu: int, processes: int = 1) -> None:
    """Reject a CUDA device that is not there, which FuxiCTR would silently replace by the CPU.

    ``processes`` of this machine need a device each; ``gpu`` is the first one's. Raises ConfigError.
    """
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpu < -1:
        raise ConfigError(f"--gpu {gpu}: give the number of a CUDA device, or -1 for the CPU.")
    if gpu >= 0 and gpu + processes > devices:
        there = f"{devices} CUDA devices, 0 to {devices - 1}" if devices else "no CUDA device"
        if processes > 1:
            there += f", and {processes} processes here need one each"
        raise ConfigError(
            f"--gpu {gpu}: this machine and this build of PyTorch ({torch.__version__}) offer {there}. "
            f"Leave --gpu out to run on the CPU, or install a CUDA build of PyTorch."
        )


def check_batches(model: nn.Module, train: H5Loader) -> None:
    """Raise a ConfigError for a batch of one row, the last or each, where batch norm or Dice needs two."""
    normalised = any(isinstance(module, nn.BatchNorm1d) for module in model.modules())
    if normalised and (train.batch_size == 1 or train.num_samples % train.batch_size == 1):
        raise ConfigError(
            f"batch_size: {train.batch_size} leaves a batch of one row of the {train.num_samples:,} "
            f"of train, which batch_norm and Dice cannot normalise. Choose another batch_size."
        )


def make_loader(
    params: dict[str, Any],
    model: MultiTaskModel,
    cache: Cache,
    split: str,
    memory_budget: int | None = None,
    device_budget: int | None = None,
    member: Member = ALONE,
    host: Group = ALONE,
) -> H5Loader:
    """Return the batches of a split as an experiment reads them: train shuffled, the others not.

    The other arguments are those of `H5Loader`; the config's ``memory_budget`` takes precedence.
    """
    chosen = params.get("memory_budget")
    return H5Loader(
        model.feature_map,
        cache.path(split),
        split=split,
        batch_size=params["batch_size"],
        shuffle=params["shuffle"] and split == "train",
        seed=params["seed"],
        memory_budget=memory_budget if chosen is None else chosen,
        sample_spaces=params["sample_spaces"],
        sample_weight=params["sample_weight"],
        device=model.device if model.device.type == "cuda" else None,
        device_budget=device_budget,
        member=member,
        host=host,
    )
