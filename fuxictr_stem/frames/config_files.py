"""The configs of a run from Python: FuxiCTR's two YAML files, readable, with what was guessed and why."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fuxictr_stem.config.model_parameters import find_model, model_fields
from fuxictr_stem.errors import ConfigError
from fuxictr_stem.frames.guess_columns import Guess
from fuxictr_stem.metrics.tasks import BINARY

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
    """Return the keys of the experiment: what must be, what the caller says, what is guessed.

    Args:
        model: Name of the model.
        dataset_id: The dataset.
        model_root: Folder of the checkpoints.
        labels: The tasks, in order.
        settings: The caller's.
        rows: Rows of train.
        grouped: Whether there are groups for gAUC.
    """
    guessed: Comments = []
    size = max(_SMALLEST_BATCH, min(_LARGEST_BATCH, 2 ** (rows // _STEPS).bit_length()))
    guessed.append(("batch_size", size, f"for {rows:,} rows"))
    guessed.append(("epochs", 20, "at most: training stops early"))
    guessed.append(("early_stop_patience", 2, "epochs without improvement before the stop"))
    guessed.append(("learning_rate", 1e-3, ""))
    guessed.append(("embedding_dim", 16, ""))
    try:
        taken: Collection[str] = model_fields(find_model(model))
    except ConfigError:
        taken = ()
    guessed += [(key, widths, "a small network") for key, widths in _WIDTHS.items() if key in taken]
    kinds = settings.get("task") or BINARY
    kinds = [kinds] if isinstance(kinds, str) else kinds
    metrics = ["AUC", "logloss"] if BINARY in kinds else []
    metrics += ["gAUC"] if BINARY in kinds and grouped else []
    metrics += ["MSE", "MAE", "R2"] if any(kind != BINARY for kind in kinds) else []
    guessed.append(("metrics", metrics, "gAUC is within the groups of group_id" if grouped else ""))
    guessed.append(("seed", 2023, ""))
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
    """Return the keys of the dataset without its columns; arguments as of `experiment_keys`."""
    given = {key: plain(settings[key]) for key in DATASET_SETTINGS if key in settings}
    return [
        ("data_root", str(data_root), "encoded rows; may be removed, and is made again"),
        ("data_format", data_format, ""),
        *((f"{split}_data", path, "") for split, path in paths.items()),
        *([] if "test" in paths else [("test_data", None, "no test rows were given")]),
        *((key, value, _YOURS) for key, value in given.items()),
        ("group_id", group_id, ""),
    ]


def write(
    folder: Path,
    expid: str,
    experiment: Comments,
    dataset_id: str,
    dataset: Comments,
    features: Sequence[Guess],
    labels: Sequence[Guess],
    final: Path,
    init_from: Path | None,
) -> None:
    """Write both configs of one run into a folder; other arguments as returned above.

    Args:
        folder: The folder.
        expid: Id of the experiment.
        experiment: Its keys.
        dataset_id: Id of the dataset.
        dataset: Its keys.
        features: Its features.
        labels: Its labels.
        final: Where the folder will be, for the comment.
        init_from: The run whose weights it starts from, for the comment.
    """
    start = "" if init_from is None else f" --init-from {shlex.quote(str(init_from))}"
    head = [
        f"{MARK}, which overwrites it when it is called again.",
        "# The same run from a shell, to the last digit:",
        f"#     python -m fuxictr_stem run --config {shlex.quote(str(final))} --expid {expid}{start}",
        "# Every key, with its meaning and default: python -m fuxictr_stem keys",
    ]
    write_experiments(folder / "model_config.yaml", head, {expid: experiment})
    write_dataset(folder / "dataset_config.yaml", head, dataset_id, dataset, features, labels)


def write_experiments(path: Path, head: Sequence[str], ids: Mapping[str, Comments]) -> None:
    """Write a file of experiments; keys that several have alike are written once, under an anchor."""
    first = next(iter(ids.values()))
    shared = [key for key in first if all(key in keys for keys in ids.values())]
    lines = [*map(one_line, head)]
    if len(ids) > 1:
        lines += [".shared: &shared", *_lines(shared)]
    for expid, keys in ids.items():
        others = [key for key in keys if len(ids) == 1 or key not in shared]
        lines += [
            f"{inline(expid)}:",
            *(["    <<: *shared"] if len(ids) > 1 else []),
            *_lines(others),
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_dataset(
    path: Path,
    head: Sequence[str],
    dataset_id: str,
    dataset: Comments,
    features: Sequence[Guess],
    labels: Sequence[Guess],
) -> None:
    """Write a file with one dataset."""
    lines = [*map(one_line, head), f"{inline(dataset_id)}:", *_lines(dataset)]
    for key, guesses in (("feature_cols", features), ("label_col", labels)):
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
