"""Which settings decide an experiment's results, besides its data and the software."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from fuxictr_stem import registry
from fuxictr_stem.config import schema
from fuxictr_stem.config.model_parameters import constructor_parameters
from fuxictr_stem.errors import ConfigError

# Where things are and what is shown: a run may continue with others.
NO_SETTINGS = (
    *("data_root", "train_data", "valid_data", "test_data", "source", "prepare", "model_root"),
    *("gpu", "memory_budget", "num_workers", "file_locks", "debug_mode", "verbose"),
    "build_together",
    *("pickle_feature_encoder", "save_predictions", "prediction_columns"),
    *("state_minutes", "state_steps", "states_kept"),
    *("tracker", "tracker_steps", "tracker_group"),
)

_COLUMNS: dict[str, type[schema.Shape]] = {
    "feature_cols": schema.Feature,
    "label_col": schema.Label,
}


def result_settings(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's result depends on besides the data and the software."""
    device = "cuda" if params["gpu"] >= 0 else "cpu"
    settings = {key: value for key, value in params.items() if key not in NO_SETTINGS}
    return as_json({**settings, "device": device})


def decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those at their default and without the place of pretrained vectors.

    A key that a later version adds, with a default that changes nothing, so leaves older runs valid:
    a run that does not have the key is one that has its default. The content of the vectors' file is
    part of the data's fingerprint.
    """
    defaults = {
        **_defaults(schema.Dataset),
        **_defaults(schema.Experiment),
        **_model_defaults(settings.get("model")),
    }
    kept = _without(settings, defaults)
    for key in _COLUMNS:
        if isinstance(kept.get(key), list):
            kept[key] = decisive_columns(kept, key)
            for column in kept[key]:
                if column.get("pretrained_emb"):
                    column["pretrained_emb"] = True
    return kept


def decisive_columns(settings: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the columns of ``feature_cols`` or ``label_col``, each without what is at its default."""
    defaults = _defaults(_COLUMNS[key])
    return [_without(column, defaults) for column in settings[key]]


def as_json(value: Any) -> Any:
    """Return a value as JSON gives it back, which has no NaN (``missing: nan``) and no tuples."""
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _without(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in settings.items()
        if key not in defaults or as_json(value) != defaults[key]
    }


def _defaults(shape: type[schema.Shape]) -> dict[str, Any]:
    return {
        name: as_json(field.default)
        for name, field in shape.model_fields.items()
        if not field.is_required() and field.default is not schema.ABSENT
    }


def _model_defaults(name: Any) -> dict[str, Any]:
    """Return the defaults of a model's own parameters; none where there is no such model."""
    try:
        parameters = constructor_parameters(registry.get_model(name))
    except (ConfigError, ImportError, AttributeError):
        return {}
    settings = schema.Experiment.model_fields
    defaults: dict[str, Any] = {}
    for _, parameter in parameters:
        # The constructor nearest to the model decides; the schema's defaults come before any.
        if parameter.default is not inspect.Parameter.empty and parameter.name not in settings:
            defaults.setdefault(parameter.name, as_json(parameter.default))
    return defaults


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any], place: str) -> None:
    """Raise a ConfigError with all that differs between the settings of the run to be continued and these.

    A key at its default is the same as none, so a run continues under a version that has more keys.
    ``place`` is where the former are from.
    """
    then, here = ({**decisive(side), "data": None} for side in (before, now))
    changed = [
        line
        for key in dict.fromkeys([*then, *here])
        if then.get(key) != here.get(key)
        for line in differences(before.get(key), now.get(key), key)
    ]
    if before.get("data") != now.get("data"):
        changed.append("data: the source files, or the config of the columns, have changed")
    if changed:
        lines = "\n".join(f"  {line}" for line in changed)
        raise ConfigError(
            f"--resume: {place} was made with other settings:\n{lines}\nSet them back to continue, or "
            "run without "
            f"--resume to start from the beginning."
        )


def differences(
    before: Any, now: Any, at: str = "", words: tuple[str, str] = ("then", "now")
) -> Iterator[str]:
    """Yield what differs between two settings, as JSON, called ``at``; ``words`` say which is which."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            name = f"{at}.{key}" if at else str(key)
            yield from differences(before.get(key), now.get(key), name, words)
    elif before != now:
        yield f"{at}: {before!r} {words[0]}, {now!r} {words[1]}"
