"""What FuxiCTR would look up or evaluate from a config, as lists and small grammars instead."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from fuxictr_stem import registry
from fuxictr_stem.config.kinds import Kind, Refused, choice, matching, number
from fuxictr_stem.errors import ConfigError, suggest
from fuxictr_stem.models.expressions import parse_encoder, parse_initializer
from fuxictr_stem.training.loss_weights import LOSS_WEIGHTS

COLUMN_TYPES = CATEGORICAL, NUMERIC, SEQUENCE, EMBEDDING, META = (
    "categorical",
    "numeric",
    "sequence",
    "embedding",
    "meta",
)

# What needs no more than parameters and a learning rate, nor second derivatives or closures.
OPTIMIZERS = (
    "adam",
    "Adam",
    "AdamW",
    "SGD",
    "Adagrad",
    "RMSprop",
    "Adamax",
    "NAdam",
    "RAdam",
    "Adadelta",
)

# Lower case: FuxiCTR's own names. The others are torch.nn's elementwise modules.
ACTIVATION = choice(
    ["relu", "sigmoid", "tanh", "prelu", "dice"]
    + ["ReLU", "Sigmoid", "Tanh", "PReLU", "Dice", "ReLU6", "LeakyReLU", "RReLU", "ELU", "SELU"]
    + ["CELU", "GELU", "SiLU", "Mish", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid"]
    + ["Hardswish", "LogSigmoid", "Tanhshrink", "Softshrink", "Hardshrink", "Identity"]
)

_PENALTY = re.compile(r"\s*(l1|l2|l1_l2)\s*\(([^()]*)\)\s*")
_AMOUNT = number(0)


def _read_regularizer(value: Any) -> float | str | None:
    """Return None, a float for L2, or text with L1: FuxiCTR ignores a whole number silently."""
    match = _PENALTY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None if value is None else _AMOUNT.read(value) or None
    try:
        amounts = [_AMOUNT.read(float(part)) for part in match[2].split(",")]
    except ValueError:
        raise Refused from None
    if len(amounts) != (2 if match[1] == "l1_l2" else 1):
        raise Refused
    l1, l2 = {"l1": [*amounts, 0.0], "l2": [0.0, *amounts], "l1_l2": amounts}[match[1]]
    if not l1:
        return l2 or None
    return f"l1_l2({l1!r},{l2!r})" if l2 else f"l1({l1!r})"


REGULARIZER = Kind("a number >= 0, l1(x), l2(x), l1_l2(x,y) or null", _read_regularizer)


def _read_encoder(value: Any) -> Any:
    if isinstance(value, str) and value.strip() in ("None", "none", "null", ""):
        return None
    steps = value if isinstance(value, list) else [value]
    if not all(isinstance(step, str) and step for step in steps) and value is not None:
        raise Refused
    try:
        if not parse_encoder(value) and value is not None:
            raise Refused
    except ConfigError as error:
        raise Refused(str(error)) from None
    return value


ENCODER = Kind(
    "layers.MaskedAveragePooling(), layers.MaskedSumPooling(), nn.Linear(a, b), a list of these, or "
    "null",
    _read_encoder,
)


def _read_initializer(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused
    try:
        parse_initializer(value)
    except ConfigError as error:
        raise Refused(str(error)) from None
    return value


INITIALIZER = Kind(
    "an initializer such as partial(nn.init.normal_, std=1e-4) or nn.init.xavier_normal_",
    _read_initializer,
)

_COPY = re.compile(r"\s*copy_from\s*(?:\(\s*([^()]*?)\s*\))?\s*")


def _read_copy(value: Any) -> str:
    match = _COPY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == "":
        raise Refused(suggest(value, ["copy_from"]).strip() if isinstance(value, str) else "")
    return f"copy_from({match[1]})" if match[1] else "copy_from"


def copied_column(preprocess: str | None, name: str) -> str | None:
    """Return the column that a normalised ``preprocess`` of the column ``name`` copies, if any."""
    match = _COPY.fullmatch(preprocess or "")
    return (match[1] or name) if match else None


_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:\(\s*([^()]*?)\s*\))?\s*")


def _read_feature_source(value: Any) -> str:
    match = _CALL.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == "copy_from":
        return _read_copy(value)
    try:
        names = registry.list_preprocess()
    except ConfigError as error:
        raise Refused(str(error)) from None
    if match[1] not in names:
        near = suggest(match[1], ["copy_from", *names]).strip()
        raise Refused(near or f"Installed functions: {', '.join(names) or 'none'}.")
    return match[1] if match[2] is None else f"{match[1]}({match[2]})"


FEATURE_SOURCE = Kind(
    "copy_from(<column>), or a function of an installed package (entry-point group "
    f"{registry.PREPROCESS_GROUP})",
    _read_feature_source,
)


def function_call(preprocess: str | None, name: str) -> tuple[str, str] | None:
    """Return the function, and its text, that a normalised ``preprocess`` of a feature calls, if any."""
    match = _CALL.fullmatch(preprocess or "")
    if match is None or match[1] == "copy_from":
        return None
    return match[1], name if match[2] is None else match[2]


_BOTH = re.compile(r"\s*both\s*\(\s*([^(),]*[^(),\s])\s*,\s*([^(),]*[^(),\s])\s*\)\s*")


def _read_label_source(value: Any) -> str:
    if not isinstance(value, str) or not value.strip().startswith("both"):
        return _read_copy(value)
    match = _BOTH.fullmatch(value)
    if match is None:
        # YAML ends a bare value at a comma inside of {...}.
        raise Refused('Within {...} write it in quotes: "both(<label>, <label>)".')
    return f"both({match[1]}, {match[2]})"


LABEL_SOURCE = Kind("copy_from(<column>) or both(<label>, <label>)", _read_label_source)


def combined_labels(preprocess: str | None) -> tuple[str, str] | None:
    """Return the two labels that a normalised ``preprocess`` of a label combines, if it does."""
    match = _BOTH.fullmatch(preprocess or "")
    return (match[1], match[2]) if match else None


def _read_pretrained(value: Any) -> str:
    if not isinstance(value, str) or Path(value).suffix not in (".h5", ".npz", ".parquet"):
        raise Refused
    if not os.path.isfile(value):
        raise Refused("There is no such file (a relative path begins at the working folder).")
    return value


PRETRAINED_FILE = Kind("a .h5, .npz or .parquet file with key and value", _read_pretrained)

_WEIGHT = number()
_LOSS_WEIGHT = number(0)
_BY_NAME = choice(LOSS_WEIGHTS)


def _read_loss_weight(value: Any) -> str | list[float] | dict[str, float]:
    if isinstance(value, list) and value:
        return [_LOSS_WEIGHT.read(one) for one in value]
    if isinstance(value, dict) and value and all(isinstance(k, str) for k in value):
        return {name: _LOSS_WEIGHT.read(one) for name, one in value.items()}
    return _BY_NAME.read(value)


LOSS_WEIGHT = Kind(
    f"one of {', '.join(LOSS_WEIGHTS)}, or numbers >= 0: a list, or a mapping from labels",
    _read_loss_weight,
)


def _read_spaces(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise Refused
    if not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise Refused
    return value


SAMPLE_SPACES = Kind("a mapping from labels to labels, such as {conversion: click}", _read_spaces)


def _read_missing(value: Any) -> float:
    if isinstance(value, float) and math.isnan(value):
        return value
    if isinstance(value, str) and value.strip().lower() in ("nan", ".nan"):
        return math.nan
    return _WEIGHT.read(value)


MISSING = Kind("a finite number, or nan for empty and NaN values", _read_missing)


def _read_monitor(value: Any) -> str | dict[str, float]:
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, dict) or not value or not all(isinstance(k, str) for k in value):
        raise Refused
    weights = {name: _WEIGHT.read(weight) for name, weight in value.items()}
    if not all(weights.values()):
        raise Refused("A weight of 0 monitors nothing; leave the metric out.")
    return weights


MONITOR = Kind("a metric, or a mapping of metrics to weights", _read_monitor)
SPLITTER = matching(r".+", "text of at least one character")


_CHARACTER = matching(r"[\x00-\x7f]", "one ASCII character")


def _read_special(value: Any) -> str:
    if value in ("\\t", "tab", "TAB"):
        raise Refused(r'Write it in double quotes: "\t".')
    if _CHARACTER.read(value) in ("\n", "\r"):
        raise Refused("It cannot end lines.")
    return str(value)


QUOTE = '"'
SPECIAL_CHARACTER = Kind(_CHARACTER.rule, _read_special)
