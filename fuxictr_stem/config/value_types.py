"""The types of config values: what FuxiCTR would look up or evaluate, as lists and small grammars.

A type is pydantic's: it settles a value into its normal form, or raises a ValueError whose text is the next
step. Where its JSON schema alone says too little, the schema's ``title`` says what the value must be.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from fuxictr_stem import registry
from fuxictr_stem.config.column_words import BOTH, CALL, COPY
from fuxictr_stem.errors import one_of, suggest
from fuxictr_stem.layers.experts import MOST_PARTS
from fuxictr_stem.models.expressions import WIDEST, parse_encoder, parse_initializer
from fuxictr_stem.training.loss_weights import LOSS_WEIGHTS, NUMBERS

LARGEST = 2**63 - 1
LARGEST_FLOAT32 = 1e38

Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST)]
Width = Annotated[int, Field(ge=1, le=WIDEST)]
Depth = Annotated[int, Field(ge=1, le=MOST_PARTS)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Number = Annotated[float, Field(ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32, allow_inf_nan=False)]
PositiveNumber = Annotated[float, Field(gt=0, le=LARGEST_FLOAT32, allow_inf_nan=False)]
NumberOrZero = Annotated[float, Field(ge=0, le=LARGEST_FLOAT32, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class OneOf:
    """One of some values, of the same type; ``otherwise`` is the next step where none is near."""

    def __init__(self, values: Iterable[Any], otherwise: str = "") -> None:
        self.values, self.otherwise = list(values), otherwise

    def read(self, value: Any) -> Any:
        """Return the value."""
        for allowed in self.values:
            if type(allowed) is type(value) and allowed == value:
                return allowed
        near = suggest(value, map(str, self.values)) if isinstance(value, str) else ""
        raise ValueError(near or self.otherwise)

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        """Return pydantic's validation."""
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"enum": self.values}


_Value = TypeVar("_Value")
Several = Annotated[list[_Value], Field(min_length=1)]
OneOrSeveral = Union[_Value, Several[_Value]]  # noqa: UP007 - mypy reads no alias that begins with a variable

# What needs no more than parameters and a learning rate, nor second derivatives or closures.
OPTIMIZERS = (
    *("adam", "Adam", "AdamW", "SGD", "Adagrad"),
    *("RMSprop", "Adamax", "NAdam", "RAdam", "Adadelta"),
)

# Lower case: FuxiCTR's own names. The others are torch.nn's elementwise modules.
ACTIVATIONS = (
    *("relu", "sigmoid", "tanh", "prelu", "dice"),
    *("ReLU", "Sigmoid", "Tanh", "PReLU", "Dice", "ReLU6", "LeakyReLU", "RReLU", "ELU", "SELU"),
    *("CELU", "GELU", "SiLU", "Mish", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid"),
    *("Hardswish", "LogSigmoid", "Tanhshrink", "Softshrink", "Hardshrink", "Identity"),
)
Activation = Annotated[str, OneOf(ACTIVATIONS)]


def must(rule: Callable[[Any], Any], hint: str = "") -> AfterValidator:
    """Return the check that a rule holds for a value; the hint is the next step where it does not."""

    def check(value: Any) -> Any:
        if not rule(value):
            raise ValueError(hint)
        return value

    return AfterValidator(check)


def _known_to_system(value: str) -> str:
    try:
        os.lstat(value)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        # A name too long, a circle of links: nothing can be written or read there.
        raise ValueError(f"The system says: {getattr(error, 'strerror', error)}.") from None
    return value


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def named(words: str, **schema: Any) -> WithJsonSchema:
    """Return what a type's values must be, in words, and its JSON schema, by default text."""
    return WithJsonSchema({"title": words, **(schema or {"type": "string"})})


Text = Annotated[
    str, must(str.strip), named("text that is not blank", type="string", pattern=r"\S")
]
FilePath = Annotated[
    str,
    must(str.strip),
    must(
        lambda path: not path.startswith(("~", "$")),
        "Write the path itself: neither '~' nor variables are expanded here.",
    ),
    AfterValidator(_known_to_system),
    named("text that can be a path"),
]
PlainValue = Annotated[
    Any,
    must(lambda value: not isinstance(value, dict) and _is_plain(value)),
    named(
        "a number, text, True, False, null, or a list of these",
        type=["number", "string", "boolean", "null", "array"],
    ),
]
PlainMapping = Annotated[
    dict, must(_is_plain), named("a mapping of plain YAML values", type="object")
]

_PENALTY = re.compile(r"\s*(l1|l2|l1_l2)\s*\(([^()]*)\)\s*")


def _penalty(value: Any) -> float | str | None:
    """Return a float for L2, or text with L1."""
    match = _PENALTY.fullmatch(value) if isinstance(value, str) else None
    amounts = [float(part) for part in match[2].split(",")] if match else []
    if match is None or len(amounts) != (2 if match[1] == "l1_l2" else 1):
        raise ValueError
    if not all(0 <= amount <= LARGEST_FLOAT32 for amount in amounts):
        raise ValueError
    l1, l2 = {"l1": [*amounts, 0.0], "l2": [0.0, *amounts], "l1_l2": amounts}[match[1]]
    if not l1:
        return l2
    return f"l1_l2({l1!r},{l2!r})" if l2 else f"l1({l1!r})"


# FuxiCTR ignores a whole number without a word.
Penalty = Annotated[
    NumberOrZero | Annotated[str, PlainValidator(_penalty)] | None,
    AfterValidator(lambda penalty: penalty or None),
    named("a number >= 0, l1(x), l2(x), l1_l2(x,y) or null", type=["number", "string", "null"]),
]


def _encoder(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.strip() in ("None", "none", "null", "")):
        return None
    steps = value if isinstance(value, list) else [value]
    if not all(isinstance(step, str) and step for step in steps) or not parse_encoder(value):
        raise ValueError
    return value


Encoder = Annotated[
    Any,
    PlainValidator(_encoder),
    named(
        "layers.MaskedAveragePooling(), layers.MaskedSumPooling(), nn.Linear(a, b), a list of these, "
        "or null",
        type=["string", "array", "null"],
    ),
]


Initializer = Annotated[
    str,
    must(parse_initializer),
    named("an initializer such as partial(nn.init.normal_, std=1e-4) or nn.init.xavier_normal_"),
]


PretrainedFile = Annotated[
    str,
    must(lambda path: Path(path).suffix in (".h5", ".npz", ".parquet")),
    must(os.path.isfile, "There is no such file (a relative path begins at the working folder)."),
    named("a .h5, .npz or .parquet file with key and value"),
]

LossWeight = Annotated[
    Annotated[str, OneOf(LOSS_WEIGHTS)]
    | Several[NumberOrZero]
    | Annotated[dict[str, NumberOrZero], Field(min_length=1)],
    named(
        one_of(LOSS_WEIGHTS, NUMBERS),
        anyOf=[{"enum": list(LOSS_WEIGHTS)}, {"type": "array"}, {"type": "object"}],
    ),
]
SampleSpaces = Annotated[
    dict[str, str],
    Field(min_length=1),
    named("a mapping from labels to labels, such as {conversion: click}", type="object"),
]
Monitor = Annotated[
    Text | Annotated[dict[str, Number], Field(min_length=1)],
    must(
        lambda monitor: isinstance(monitor, str) or all(monitor.values()),
        "A weight of 0 monitors nothing; leave the metric out.",
    ),
    named("a metric, or a mapping of metrics to weights", type=["string", "object"]),
]


def _nan(value: Any) -> float:
    text = isinstance(value, str) and value.strip().lower() in ("nan", ".nan")
    if text or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    raise ValueError


Missing = Annotated[
    Number | Annotated[float, PlainValidator(_nan)],
    named("a finite number, or nan for empty and NaN values", type=["number", "string"]),
]
Splitter = Annotated[
    str, Field(min_length=1), named("text of at least one character", type="string", minLength=1)
]
SpecialCharacter = Annotated[
    str,
    must(lambda value: value not in ("\\t", "tab", "TAB"), r'Write it in double quotes: "\t".'),
    must(lambda value: len(value) == 1 and value.isascii()),
    must(lambda value: value not in "\n\r", "It cannot end lines."),
    named("one ASCII character"),
]


def _copy(value: Any) -> str:
    match = COPY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == "":
        raise ValueError(suggest(value, ["copy_from"]) if isinstance(value, str) else "")
    return f"copy_from({match[1]})" if match[1] else "copy_from"


def _feature_source(value: Any) -> str:
    match = CALL.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] == "copy_from":
        return _copy(value)
    functions = registry.list_preprocess()
    if match[1] not in functions:
        near = suggest(match[1], ["copy_from", *functions])
        raise ValueError(near or f"Installed functions: {', '.join(functions) or 'none'}.")
    return match[1] if match[2] is None else f"{match[1]}({match[2]})"


def _label_source(value: Any) -> str:
    if not isinstance(value, str) or not value.strip().startswith("both"):
        return _copy(value)
    match = BOTH.fullmatch(value)
    if match is None:
        # YAML ends a bare value at a comma inside of {...}.
        raise ValueError('Within {...} write it in quotes: "both(<label>, <label>)".')
    return f"both({match[1]}, {match[2]})"


FeatureSource = Annotated[
    str,
    PlainValidator(_feature_source),
    named(
        "copy_from(<column>), or a function of an installed package (entry-point group "
        f"{registry.PREPROCESS_GROUP})"
    ),
]
LabelSource = Annotated[
    str,
    PlainValidator(_label_source),
    named("copy_from(<column>) or both(<label>, <label>)"),
]
