"""Which models and preprocess functions there are, those of other packages by their entry points."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fuxictr_stem.errors import ConfigError, UserError, first_line, suggest

if TYPE_CHECKING:
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.models import MultiTaskModel

ENTRY_POINT_GROUP = "fuxictr_stem.models"
PREPROCESS_GROUP = "fuxictr_stem.preprocess"

# name -> "module:class", so that listing the models imports none of them.
_MODELS = {
    "STEMNet": "fuxictr_stem.models.stemnet:STEMNet",
    "AITM": "fuxictr_stem.models.aitm:AITM",
    "ESMM": "fuxictr_stem.models.esmm:ESMM",
    "MEMMoE": "fuxictr_stem.models.mmoe:MEMMoE",
    "MEPLE": "fuxictr_stem.models.ple:MEPLE",
    "MMoE": "fuxictr_stem.models.mmoe:MMoE",
    "OMoE": "fuxictr_stem.models.mmoe:OMoE",
    "PLE": "fuxictr_stem.models.ple:PLE",
    "STEMAL": "fuxictr_stem.models.stem_al:STEMAL",
    "SharedBottom": "fuxictr_stem.models.shared_bottom:SharedBottom",
}


def _claims(what: str, group: str, ours: dict[str, str]) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; two for one name, or for one of ours, are an error."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        taken = ours.get(entry.name) or entries.setdefault(entry.name, entry).value
        if taken != entry.value:
            raise ConfigError(
                f"Two {what} are called {entry.name!r}: {taken} and {entry.value} (entry points of "
                f"installed packages in the group {group!r}). Rename or uninstall one of them."
            )
    return entries


@cache
def _places() -> dict[str, str]:
    """Return the places of all models; the installed packages are looked through once per process."""
    claims = _claims("models", ENTRY_POINT_GROUP, _MODELS)
    return {name: entry.value for name, entry in claims.items()} | _MODELS


def list_models() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(_places())


def get_model(name: str) -> type:
    """Return a model class by name, or raise a ConfigError that lists what there is."""
    places = _places()
    if name not in places:
        raise ConfigError(
            f"model: there is no model {name!r}.{suggest(name, places)} The models are: "
            f"{', '.join(list_models())}."
        )
    module, _, attribute = places[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def build_model(params: dict[str, Any], feature_map: FeatureMap) -> MultiTaskModel:
    """Return the model that the params name, for the tasks that they choose.

    Parameters that the model rejects are a ConfigError; a file that it reads and that is not right, such
    as one of pretrained vectors, is a DataError.
    """
    # A model that knows no task_labels trains the feature map's labels.
    feature_map.labels = list(params["task_labels"])
    try:
        return get_model(params["model"])(feature_map, **params)
    except UserError:
        raise
    except ValueError as error:
        raise ConfigError(f"{params['model_id']}: {error}") from error
    except (RuntimeError, TypeError) as error:
        # A size past 64 bits is a TypeError to PyTorch. Other errors are not about memory.
        if not any(word in str(error) for word in ("allocate", "verflow")):
            raise
        raise ConfigError(
            f"{params['model_id']}: the model needs more memory than there is: {first_line(error)}. "
            "Choose smaller widths, fewer layers or experts, or a larger min_categr_count."
        ) from error


class Preprocess(NamedTuple):
    """A function of an installed package that makes a column."""

    function: Callable[[str], Any]  # takes text, returns a polars expression
    identity: str  # its place, its package's version, and a digest of the file that holds it


def list_preprocess() -> list[str]:
    """Return the names of the preprocess functions of installed packages, sorted."""
    return sorted(_claims("preprocess functions", PREPROCESS_GROUP, {}))


def get_preprocess(name: str) -> Preprocess:
    """Return a preprocess function by name; ConfigError if there is none, or it cannot be imported."""
    entry = _claims("preprocess functions", PREPROCESS_GROUP, {}).get(name)
    if entry is None:
        raise ConfigError(f"No installed package has a preprocess function {name!r}.")
    try:
        function = entry.load()
    except Exception as error:
        raise ConfigError(
            f"The preprocess function {name!r} ({entry.value}) cannot be imported: {error!r}."
        ) from error
    if inspect.isfunction(function):
        file = inspect.getsourcefile(inspect.unwrap(function))
    else:
        # A partial, or an object that is called, has no file of its own.
        file = getattr(importlib.import_module(entry.module), "__file__", None)
    # A package that is being written changes without its version.
    content = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return Preprocess(function, f"{entry.value} {package} {content}")
