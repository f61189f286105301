"""The run whose weights are taken over, and whether they fit an experiment, before any data are read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fuxictr_stem import results
from fuxictr_stem.analysis.synthetic_features import synthetic_feature_map
from fuxictr_stem.config.model_parameters import (
    constructor_parameters,
    find_model,
    model_fields,
)
from fuxictr_stem.config.result_settings import as_json
from fuxictr_stem.data.encoding.encoder_files import ENCODER_FOLDER
from fuxictr_stem.data.encoding.row_encoder import RowEncoder
from fuxictr_stem.errors import ConfigError, DataError, raise_all
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.features import FieldLayout, field_layout
from fuxictr_stem.models.initial_weights import misfits
from fuxictr_stem.models.weight_parts import WeightPart, weight_parts
from fuxictr_stem.registry import build_model
from fuxictr_stem.training.precision import FP32

logger = logging.getLogger(__name__)

# What decides the form of a field's weights, and what it is where a config does not say.
_FORM = {
    "type": None,
    "embedding_dim": None,
    "feature_encoder": None,
    "pretrained_emb": None,
    "pretrain_dim": None,
    "pretrain_usage": "init",
    "freeze_emb": True,
}


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
    """Open a run folder, whose files must be as written; ConfigError if it is none of a finished run."""
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
    """Return how the model of an experiment is made, with small vocabularies; nothing random is drawn."""
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


def check_fit(source: Source, params: Mapping[str, Any]) -> None:
    """Compare a run's model with that of an experiment.

    Tasks may differ, and so may vocabularies; fields and layers may not: a ConfigError names all that do.
    Other settings that differ, such as an activation, are a warning.
    """
    there, here = anatomy(source.params), anatomy(params)
    heading = f"--init-from {source.folder} does not fit this experiment"
    raise_all(ConfigError, heading, _problems(there, here))
    changed = "; ".join(_changed_settings(there.params, here.params))
    if changed:
        logger.warning("--init-from: settings of the model differ: %s.", changed)


def _problems(there: Anatomy, here: Anatomy) -> Iterator[str]:
    """Yield what keeps weights from being taken over: the model, the tasks, the fields, the layers."""
    if there.params["model"] != here.params["model"]:
        yield f"its model is {there.params['model']}, this one's {here.params['model']}."
        return
    if not set(there.labels) & set(here.labels):
        yield f"its tasks are {', '.join(there.labels)}, this one's {', '.join(here.labels)}: no overlap."
        return
    for label in here.labels:
        types = [
            side.params["task"][side.labels.index(label)]
            for side in (there, here)
            if label in side.labels
        ]
        if len(set(types)) > 1:
            yield f"task {label!r} is {types[0]} there, {types[1]} here."
    yield from _field_problems(there, here)
    others = set(there.labels) ^ set(here.labels)
    shapes = list(misfits(there.parts, here.parts, others))
    if shapes:
        count = "weights differ" if len(shapes) == 1 else f"{len(shapes)} weights differ"
        changed = "; ".join(_changed_settings(there.params, here.params))
        because = f" Settings that differ: {changed}." if changed else ""
        yield f"{count}: {'; '.join(shapes)}.{because}"


def _field_problems(there: Anatomy, here: Anatomy) -> Iterator[str]:
    theirs, ours = _forms(there), _forms(here)
    for place, side, other in (("it", theirs, ours), ("this", ours, theirs)):
        if names := side.keys() - other.keys():
            yield f"only {place} has the fields {', '.join(sorted(names))}: use the same ones."
    for name in (name for name in theirs if name in ours):
        changed = [
            f"{key} {theirs[name][key]!r} there, {ours[name][key]!r} here"
            for key in _FORM
            if theirs[name][key] != ours[name][key]
        ]
        if changed:
            yield f"field {name!r}: {', '.join(changed)}."
    if set(theirs) == set(ours) and list(theirs) != list(ours):
        yield (
            f"the order of the fields is {', '.join(theirs)} there, {', '.join(ours)} here, and the "
            "first layers read them in this order. Put feature_cols (or use_features) in the same order."
        )


def _forms(model: Anatomy) -> dict[str, dict[str, Any]]:
    """Return, by field, what decides the form of its weights."""
    columns = {col["name"]: col for col in model.params["feature_cols"]}
    forms = {}
    for name, spec in model.layout.features.items():
        owner = model.layout.owners.get(name, name)
        # The table of a shared field is made as its owner's config says.
        of_table = {**columns[owner], **model.layout.features[owner]}
        of_field = {**of_table, **{key: spec.get(key) for key in ("type", "feature_encoder")}}
        of_field["embedding_dim"] = model.layout.dims[name]
        if of_field.get("pretrained_emb"):
            of_field["pretrained_emb"] = True
            of_field.setdefault("pretrain_dim", model.layout.dims[name])
        forms[name] = {key: of_field.get(key, default) for key, default in _FORM.items()}
    return forms


def _changed_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield the model's own parameters that differ."""
    model = find_model(here["model"])
    # The constructor nearest to the model decides.
    defaults = {p.name: p.default for _, p in reversed(list(constructor_parameters(model)))}
    for key in model_fields(model):
        theirs, ours = (as_json(side.get(key, defaults.get(key))) for side in (there, here))
        if theirs != ours:
            yield f"{key} {theirs!r} there, {ours!r} here"
