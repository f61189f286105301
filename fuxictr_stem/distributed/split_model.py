"""Split a model over several processes, and reject what cannot be split."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.models import MultiTaskModel
from torch import nn

from fuxictr_stem.config.result_settings import decisive, differences, result_settings
from fuxictr_stem.distributed.gathered_weights import open_from_first, save
from fuxictr_stem.distributed.row_exchange import RowExchange
from fuxictr_stem.distributed.sharded_step import ShardedStep
from fuxictr_stem.errors import ConfigError, raise_all
from fuxictr_stem.layers.row_shards import rows_split
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.registry import build_model, get_model
from fuxictr_stem.training.adam_step import l2_penalty
from fuxictr_stem.training.precision import FP32
from fuxictr_stem.training.ranks import Ranks

logger = logging.getLogger(__name__)

_WORDS = "on rank 0", "here"


def check_several(params: Mapping[str, Any]) -> None:
    """Reject what several processes cannot do yet, in one message."""
    problems = []
    if not issubclass(get_model(params["model"]), MultiTaskNet):
        problems.append(f"model: {params['model']} is not of this package, so it cannot be split.")
    optimizer, regularizer = str(params["optimizer"]), params["embedding_regularizer"]
    if optimizer.lower() != "adam":
        problems.append(f"optimizer: several processes train only with adam, found {optimizer}.")
    if l2_penalty(regularizer) is None:
        problems.append(
            f"embedding_regularizer: several processes need L2 or null, found {regularizer}."
        )
    if problems:
        problems[-1] += " Or train in one process, without torchrun."
    raise_all(ConfigError, f"{params['model_id']} on several processes", problems)


def check_same_settings(params: Mapping[str, Any], init_from: bool, ranks: Ranks) -> None:
    """Reject settings that differ from those of the first rank, whose host may have other configs."""
    settings = {
        **decisive(result_settings(params)),
        "state_steps": params["state_steps"],
        "--init-from": init_from,
    }
    changed = list(differences(ranks.from_first(lambda: settings), settings, words=_WORDS))
    if changed:
        changed[-1] += ". Give all hosts the same configs and the same command."
        raise_all(ConfigError, f"the settings of {ranks.name} are not those of rank 0", changed)


def part_of(
    params: Mapping[str, Any], feature_map: FeatureMap, ranks: Ranks
) -> tuple[Mapping[str, Any], FeatureMap]:
    """Return an experiment of the size of the part that each rank keeps, to plan its memory."""
    if ranks.count == 1:
        return params, feature_map
    part = copy.deepcopy(feature_map)
    for spec in part.features.values():
        if "vocab_size" in spec and "pretrained_emb" not in spec:
            spec["vocab_size"] = -(-spec["vocab_size"] // ranks.count)
    return {**params, "batch_size": -(-params["batch_size"] // ranks.count)}, part


def build_split(params: dict[str, Any], feature_map: FeatureMap, ranks: Ranks) -> MultiTaskModel:
    """Return the model of an experiment, with a part of each table where there are other ranks."""
    precision = params["exchange_precision"]
    if ranks.count == 1:
        if precision != FP32:
            text = "exchange_precision: %s has no effect: one process sends no rows."
            logger.warning(text, precision)
        return build_model(params, feature_map)
    with rows_split(ranks.number, ranks.count):
        model = build_model(params, feature_map)
    split_tables(model, ranks, precision)
    if not ranks.is_first:
        # One process draws different dropout for each row; with one seed, all ranks would draw the same.
        torch.manual_seed(params["seed"] + ranks.number)
    return model


def build_to_score(params: dict[str, Any], feature_map: FeatureMap, ranks: Ranks) -> MultiTaskModel:
    """Return the model of a finished run, whose weights are to be loaded, to score rows.

    Where there are other ranks, it has a part of each table, and all of them run it together.
    """
    if ranks.count == 1:
        return build_model(params, feature_map)
    # Weights are loaded, so any initializer will do, and zeros can be split.
    made = {**params, "embedding_initializer": "nn.init.zeros_"}
    with rows_split(ranks.number, ranks.count):
        model = build_model(made, feature_map)
    assert isinstance(model, MultiTaskNet), type(model)
    model.embedding_layer.fetch = RowExchange(model.embedding_layer.field_tables(), FP32).fetch
    return model


def split_tables(model: MultiTaskNet, ranks: Ranks, exchange_precision: str) -> None:
    """Have a model that was made with a part of each table (`rows_split`) train with the other ranks.

    A ConfigError where it cannot.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise ConfigError(
            "batch_norm: batch_norm and Dice need the whole batch; each process sees only a part of it. "
            "Set batch_norm: False and other hidden_activations, or train without torchrun."
        )
    exchange = RowExchange(model.embedding_layer.field_tables(), exchange_precision)
    model.embedding_layer.fetch = exchange.fetch
    model.split_tables(
        lambda step: ShardedStep(step, model, exchange),
        partial(save, model, ranks),
        partial(open_from_first, ranks),
    )
