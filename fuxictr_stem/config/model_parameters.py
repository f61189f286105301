"""The keys that a model adds to an experiment: the parameters of its constructor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from fuxictr_stem import registry
from fuxictr_stem.config import schema
from fuxictr_stem.errors import ConfigError, Problem, short

# Given by the runner, not by a config.
_RUNNERS = ("self", "feature_map", "model_id", "gpu")
_LAYERS = ("expert", "gate", "tower", "bottom")


def find_model(name: Any) -> type:
    """Return a model's class; ConfigError if there is none of that name, or it cannot be imported."""
    try:
        return registry.get_model(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the model {name!r} cannot be imported: {error}.") from None


@functools.cache
def model_fields(model: type) -> dict[str, FieldInfo]:
    """Return the keys that a model adds; those that it needs are required."""
    fields: dict[str, FieldInfo] = {}
    for depth, parameter in constructor_parameters(model):
        name = parameter.name
        if name in _RUNNERS or name in schema.Experiment.model_fields or name in fields:
            continue
        fields[name] = schema.model_parameter(name)
        if depth == 0 and parameter.default is inspect.Parameter.empty:
            kind, meaning = fields[name].rebuild_annotation(), str(fields[name].description)
            fields[name] = schema.parameter(kind, meaning, schema.REQUIRED)
    return fields


def constructor_parameters(model: type) -> Iterator[tuple[int, inspect.Parameter]]:
    """Yield the named parameters of a constructor, and of those that its ``**params`` reach."""
    depth = 0
    for owner in model.__mro__:
        # FuxiCTR's own are settings of the training, which the schema lists.
        if owner.__module__.partition(".")[0] == "fuxictr":
            return
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        kinds = {parameter.kind for parameter in parameters}
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                yield depth, parameter
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return
        depth += 1


def layer_problems(model: type, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield activations and dropouts, given as lists, without one entry per hidden layer."""
    defaults = {p.name: p.default for _, p in constructor_parameters(model)}
    for key in ("hidden_activations", "net_dropout"):
        value = params.get(key)
        if not isinstance(value, list):
            continue
        for layer in _LAYERS:
            name = f"{layer}_hidden_units"
            widths = params.get(name, defaults.get(name))
            if isinstance(widths, (list, tuple)) and len(widths) != len(value):
                layers = f"{name} has {len(widths)} layers: {short(list(widths))}"
                hint = "Give one value for all layers, or lists of one length."
                yield Problem(key, f"has {len(value)} entries, but {layers}.", hint)
