"""The run whose weights are taken over: its settings, its vocabularies, how its model is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fuxictr_stem import results
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.field_layout import FieldLayout, field_layout
from fuxictr_stem.models.weight_parts import WeightPart, weight_parts
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.precision import FP32


@dataclass(frozen=True)
class Anatomy:
    """How a model is made."""

    params: Mapping[str, Any]
    labels: list[str]
    num_tables: int  # K
    parts: dict[str, WeightPart]
    layout: FieldLayout


@dataclass(frozen=True)
class Source:
    """A finished run whose weights are taken over."""

    folder: Path
    params: dict[str, Any]
    digest: str  # of its weights
    encoder: RowEncoder
    layout: FieldLayout


def open_source(folder: Path) -> Source:
    """Open a run folder; its files are compared with what was written.

    Raises:
        ConfigError: It is not the folder of a finished run that can be used.
        AccessError: The system does not let a file be read.
    """
    if not (folder / results.RESULT).is_file():
        raise ConfigError(f"--init-from: {results.no_run(folder)}")
    try:
        params, digest = results.read_run(folder), results.weights_digest(folder)
        encoder = RowEncoder.load(folder / ENCODER_FOLDER)
        feature_map = results.read_feature_map(folder, params)
    except DataError as error:
        raise ConfigError(f"--init-from {folder}: {error}") from error
    layout = field_layout(feature_map.features, params["embedding_dim"])
    return Source(folder, params, digest, encoder, layout)


def anatomy(params: Mapping[str, Any]) -> Anatomy:
    """Return how the model of an experiment is made, with small vocabularies and no pretrained vectors.

    No random number of the run is drawn.

    Raises:
        ConfigError: It is a model of another package, made in another way.
    """
    with torch.random.fork_rng(devices=[]):
        made = {**params, "gpu": -1, "precision": FP32, "verbose": 0}
        model = build_model(made, synthetic_feature_map(params))
    if not isinstance(model, MultiTaskNet):
        raise ConfigError(
            f"--init-from: {params['model']} is a model of another package. Only models built on "
            "fuxictr_stem.models.MultiTaskNet can take over weights."
        )
    return anatomy_of(model, params)


def anatomy_of(model: MultiTaskNet, params: Mapping[str, Any]) -> Anatomy:
    """Return how a model is made."""
    embedding = model.embedding_layer
    labels, parts = list(model.labels), weight_parts(model)
    return Anatomy(params, labels, embedding.num_tables, parts, embedding.layout)
