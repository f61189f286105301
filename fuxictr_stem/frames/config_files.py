"""The configs of a run from Python: FuxiCTR's two YAML files, readable, with what was guessed and why."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fuxictr_stem.config.model_parameters import find_model, model_fields
from fuxictr_stem.config.schema import NET, SEED
from fuxictr_stem.frames.guess_columns import Guesses
from fuxictr_stem.metrics.task_metrics import BINARY

CONFIGS = ("model_config.yaml", "dataset_config.yaml")
MARK = "# Written by fuxictr_stem.fit"
"""How a file begins that may be replaced."""

DATASET_SETTINGS = ("min_categr_count", "sep", "csv_quote", "csv_escape", "null_values")
"""Settings that belong to the dataset."""

# Arguments of `fit` that decide a key of the configs.
_ARGUMENTS = {
    **dict.fromkeys(("data_root", "model_root", "dataset_id"), "out"),
    **dict.fromkeys(
        ("train_data", "valid_data", "test_data", "data_format"), "train, valid and test"
    ),
    **dict.fromkeys(("feature_cols", "use_features"), "features"),
    **dict.fromkeys(("label_col", "task_labels", "num_tasks"), "labels"),
    "model_id": "expid",
    "feature_specs": "features",
}

_YOURS = "yours"
_STEPS = 100
_SMALLEST_BATCH, _LARGEST_BATCH = 64, 4096
# A small network: minutes on a laptop. A run on much data deserves larger ones.
_WIDTHS = {
    "expert_hidden_units": [64, 32],
    "bottom_hidden_units": [64, 32],
    "gate_hidden_units": [32],
    "tower_hidden_units": [32],
}

Comments = list[tuple[str, Any, str]]
"""Keys and values of a mapping in YAML, with a comment or ""."""


def settings_problems(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield settings that an argument of `fit` decides, and values that no config can hold."""
    for key, value in settings.items():
        if key in _ARGUMENTS:
            yield f"{key}: is decided by the argument {_ARGUMENTS[key]}. Leave {key} out."
        elif key in ("prepare", "source"):
            yield f"{key}: is for datasets with official raw files. Leave it out."
        else:
            try:
                yaml.safe_dump(plain(value))
            except yaml.YAMLError:
                yield f"{key}: must be a plain value, found a {type(value).__name__}."


def plain(value: Any) -> Any:
    """Return a value with numbers of numpy, tuples and paths as Python's own numbers, lists and text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def experiment_keys(
    model: str,
    dataset_id: str,
    model_root: Path,
    labels: Sequence[str],
    settings: Mapping[str, Any],
    rows: int,
    grouped: bool,
) -> Comments:
    """Return the keys of the experiment: what must be, what the caller's settings say, what is guessed.

    ``labels`` are the tasks in order, ``rows`` those of train; ``grouped`` is whether there are groups for
    gAUC.
    """
    size = max(_SMALLEST_BATCH, min(_LARGEST_BATCH, 2 ** (rows // _STEPS).bit_length()))
    taken = model_fields(find_model(model))
    kinds = settings.get("task") or BINARY
    kinds = [kinds] if isinstance(kinds, str) else kinds
    metrics = ["AUC", "logloss"] if BINARY in kinds else []
    metrics += ["gAUC"] if BINARY in kinds and grouped else []
    metrics += ["MSE", "MAE", "R2"] if any(kind != BINARY for kind in kinds) else []
    guessed: Comments = [
        ("batch_size", size, f"for {rows:,} rows"),
        ("epochs", 20, "at most: training stops early"),
        ("early_stop_patience", 2, "epochs without improvement before the stop"),
        ("learning_rate", NET.learning_rate, ""),
        ("embedding_dim", 16, ""),
        *((key, widths, "a small network") for key, widths in _WIDTHS.items() if key in taken),
        ("metrics", metrics, "gAUC is within the groups of group_id" if grouped else ""),
        ("seed", SEED, ""),
    ]
    yours = {key: plain(value) for key, value in settings.items() if key not in DATASET_SETTINGS}
    return [
        ("model", model, ""),
        ("dataset_id", dataset_id, ""),
        ("task_labels", list(labels), ""),
        ("model_root", str(model_root), "checkpoints, log and result.json"),
        *((key, value, _YOURS) for key, value in yours.items()),
        *(
            (k, value, f"guessed; {why}".rstrip("; "))
            for k, value, why in guessed
            if k not in yours
        ),
    ]


def dataset_keys(
    data_root: Path,
    data_format: str,
    paths: Mapping[str, str],
    group_id: str | None,
    settings: Mapping[str, Any],
) -> Comments:
    """Return the keys of the dataset without its columns; ``paths`` are the splits'."""
    yours = {key: plain(settings[key]) for key in DATASET_SETTINGS if key in settings}
    return [
        ("data_root", str(data_root), "encoded rows; may be removed, and is made again"),
        ("data_format", data_format, ""),
        *((f"{split}_data", path, "") for split, path in paths.items()),
        *([] if "test" in paths else [("test_data", None, "no test rows were given")]),
        *((key, value, _YOURS) for key, value in yours.items()),
        ("group_id", group_id, ""),
    ]


def as_id(text: str) -> str:
    """Return text with what cannot be in an id replaced; "" if nothing is left."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-")[:90]


def write_experiments(path: Path, head: Sequence[str], ids: Mapping[str, Comments]) -> None:
    """Write a file of experiments; keys that several have alike are written once, under an anchor."""
    first, *others = ids.values()
    shared = [key for key in first if all(key in keys for keys in others)] if others else []
    lines = [*map(one_line, head)]
    if shared:
        lines += [".shared: &shared", *_lines(shared)]
    for expid, keys in ids.items():
        lines += [f"{inline(expid)}:", *(["    <<: *shared"] if shared else [])]
        lines += _lines([key for key in keys if key not in shared])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_dataset(
    path: Path, head: Sequence[str], dataset_id: str, dataset: Comments, columns: Guesses
) -> None:
    """Write a file with one dataset."""
    lines = [*map(one_line, head), f"{inline(dataset_id)}:", *_lines(dataset)]
    for key, guesses in (("feature_cols", columns.features), ("label_col", columns.labels)):
        lines.append(f"    {key}:")
        lines += [f"        - {_commented(inline(g.entry), g.why)}" for g in guesses]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(keys: Comments) -> Iterator[str]:
    for key, value, comment in keys:
        yield f"    {_commented(f'{key}: {inline(value)}', comment)}"


def inline(value: Any) -> str:
    """Return a value in one line of YAML."""
    form: dict[str, Any] = {
        "default_flow_style": True,
        "width": 10**9,
        "sort_keys": False,
        "allow_unicode": True,
    }
    # A scalar ends with a line that says so.
    text = yaml.safe_dump(plain(value), **form).removesuffix("\n").removesuffix("\n...")
    if len(text.splitlines()) > 1:
        text = yaml.safe_dump(plain(value), default_style='"', **form).removesuffix("\n")
    return text


def _commented(text: str, comment: str) -> str:
    return f"{text}  # {one_line(comment)}" if comment else text


def one_line(comment: str) -> str:
    """Return a comment without what ends its line, or is no character of YAML."""
    return "".join(c if c.isprintable() else "?" for c in comment)
