"""Messages about configs, files and options, reworded for the caller of a Python function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from fuxictr_stem.errors import ConfigError, Stopped, UserError, raise_all

# What a config, or the command line, calls an argument of `fit`.
_WORDS = {
    "the same command with --resume": "the same call with resume=True",
    "Run without --resume": "Call without resume",
    "run without --resume": "call without resume",
    "--resume": "resume=True",
    "--init-from": "init_from",
    "--gpu": "gpu",
    "task_labels": "labels",
    "label_col": "labels",
    "feature_cols (or use_features)": "features",
    "feature_cols": "features",
    "train_data": "train",
    "valid_data": "valid",
    "test_data": "test",
    "data_root": "out",
    "model_root": "out",
}
# Not as a part of a path.
_WORD = re.compile(rf"(?<![\w/])(?:{'|'.join(map(re.escape, _WORDS))})(?![\w/])")
_COLUMN = re.compile(r"(feature_cols|label_col)\[\d+\] \((.*)\)(?:\.(\w+))?", re.DOTALL)


class ArgumentsError(ConfigError):
    """What is wrong with the arguments of `fit`, in its own words."""


def check_arguments(problems: Iterable[str]) -> None:
    """Raise one `ArgumentsError` with all that is wrong with the arguments, if anything is."""
    raise_all(ArgumentsError, "fuxictr_stem.fit", problems)


def argument_at(place: str) -> str:
    """Return the argument that decided what is at a place of a config.

    Example:
        >>> argument_at("run/config/model_config.yaml, STEMNet_run.epochs")
        'epochs'
        >>> argument_at("run/config/dataset_config.yaml, run.feature_cols[3] (price).dtype")
        "features['price'], dtype"
    """
    column = _COLUMN.search(place)
    if column is None:
        return in_python_words(re.sub(r"^.*_config\.yaml, [^.]*\.", "", place, flags=re.DOTALL))
    key = f", {column[3]}" if column[3] else ""
    argument = "features" if column[1] == "feature_cols" else "labels"
    return f"{argument}[{column[2]!r}]{key}"


def in_python_words(text: str, paths: Mapping[str, str] | None = None) -> str:
    """Return a message with arguments for keys and options, and with names for paths."""
    for path, name in (paths or {}).items():
        text = text.replace(f"{path} ({name})", name).replace(path, name)
    return _WORD.sub(lambda match: _WORDS[match[0]], text)


@contextmanager
def python_words(paths: Mapping[str, str]) -> Iterator[None]:
    """Have errors for people speak of arguments, and of paths by the names that they have by then."""
    try:
        yield
    except ArgumentsError:
        raise
    except (UserError, Stopped) as error:
        error.args = (in_python_words(str(error), paths), *error.args[1:])
        raise
