"""The keys that a model adds to an experiment: the parameters of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from fuxictr_stem import registry
from fuxictr_stem.config.checking import Place, Problems, key_by_name
from fuxictr_stem.config.schema import ABSENT, EXPERIMENT, MODEL, REQUIRED, Key
from fuxictr_stem.errors import ConfigError, short

# Given by the runner, not by a config.
_RUNNERS = ("self", "feature_map", "model_id", "gpu")
_LAYERS = ("expert", "gate", "tower", "bottom")


def model_keys(name: Any, place: str, problems: Problems) -> tuple[type | None, dict[str, Key]]:
    """Return a model's class and its keys; None and no keys if there is no such model.

    Args:
        name: The config's ``model``.
        place: Where it stands.
        problems: Takes what is wrong.
    """
    if not isinstance(name, str):
        return None, {}
    try:
        model = registry.get_model(name)
    except ConfigError as error:
        problems.add(place, str(error))
        return None, {}
    except (ImportError, AttributeError) as error:
        problems.add(place, f"the model {name!r} cannot be imported: {error}.")
        return None, {}
    keys: dict[str, Key] = {}
    for depth, parameter in constructor_parameters(model):
        if parameter.name in _RUNNERS or parameter.name in EXPERIMENT or parameter.name in keys:
            continue
        needed = depth == 0 and parameter.default is inspect.Parameter.empty
        key = key_by_name(MODEL, parameter.name)
        keys[parameter.name] = key._replace(default=REQUIRED if needed else ABSENT)
    return model, keys


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


def check_layers(model: type, params: dict[str, Any], place: Place, problems: Problems) -> None:
    """Check that activations and dropouts given as lists have one entry a hidden layer.

    Args:
        model: The model's class.
        params: The experiment's settings.
        place: Says where a key stands.
        problems: Takes what is wrong.
    """
    defaults = {p.name: p.default for _, p in constructor_parameters(model)}
    units = {
        name: params.get(name, defaults.get(name))
        for name in (f"{layer}_hidden_units" for layer in _LAYERS)
    }
    for key in ("hidden_activations", "net_dropout"):
        value = params.get(key)
        if not isinstance(value, list):
            continue
        for name, widths in units.items():
            if isinstance(widths, (list, tuple)) and len(widths) != len(value):
                problems.add(
                    place(key),
                    f"has {len(value)} entries, but {name} has {len(widths)} layers: "
                    f"{short(list(widths))}.",
                    "Give one value for all layers, or lists of one length.",
                )


def check_model(params: Mapping[str, Any], place: Place, problems: Problems) -> None:
    """Let a model check its keys against the tasks and the dataset, before any data is read.

    Args:
        params: The experiment's settings with its dataset's; the model's ``params_problems``, where
            it has that, yields the key, what is wrong and the next step of each problem.
        place: Says where a key stands.
        problems: Takes what is wrong.
    """
    model, _ = model_keys(params.get("model"), "model", Problems())
    problems.add_all(place, getattr(model, "params_problems", lambda _: ())(params))
