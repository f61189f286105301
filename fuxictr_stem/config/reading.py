"""Reading mappings key by key with pydantic, and putting what it finds wrong into words."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.schema import ABSENT, REJECTED, RENAMED
from fuxictr_stem.config.value_types import LARGEST, LARGEST_FLOAT32
from fuxictr_stem.errors import Problem, one_of, short, suggest, whole_number

Fields = Mapping[str, FieldInfo]


class JsonSchema(GenerateJsonSchema):
    """The JSON schema of a shape or type, without titles that only say the name again."""

    # A key without a default has `ABSENT`.
    ignored_warning_kinds = {"non-serializable-default"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return that names of keys are no titles."""
        return False


# By id of a field or type; it is kept, too, so that no other object gets its id.
_ADAPTERS: dict[int, tuple[Any, TypeAdapter[Any]]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if id(kind) not in _ADAPTERS:
        annotation = kind.rebuild_annotation() if isinstance(kind, FieldInfo) else kind
        adapter = TypeAdapter(annotation, config=ConfigDict(strict=True))
        _ADAPTERS[id(kind)] = kind, adapter
    return _ADAPTERS[id(kind)][1]


def must_be(kind: Any) -> str:
    """Return what the value of a field, or of a type, must be, to follow "must be"."""
    return _words(_adapter(kind).json_schema(schema_generator=JsonSchema))


def _words(schema: Mapping[str, Any]) -> str:
    if "title" in schema and "properties" not in schema:
        return schema["title"]
    if "anyOf" in schema:
        words = [_words(option) for option in schema["anyOf"]]
        null = ", or null" if "null" in words else ""
        words = [text for text in words if text != "null"]
        if len(words) > 1 and words[-1].startswith("a list"):
            words[-1] = "a list of these"
        return f"{', or '.join(words)}{null}"
    if "enum" in schema:
        return one_of(schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        least = schema.get("minItems", 0)
        least = f" with at least {least} entr{'y' if least == 1 else 'ies'}" if least else ""
        return f"a list{least}, each entry {_words(schema['items'])}"
    if kind == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return f"a whole number >= {low}" if high == LARGEST else whole_number(low, high)
    if kind == "number":
        signs = {"minimum": ">=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
        bounds = {sign: schema[bound] for bound, sign in signs.items() if bound in schema}
        words = [f"{sign} {bound:g}" for sign, bound in bounds.items() if bound != -LARGEST_FLOAT32]
        return f"a finite number {' and '.join(words)}".rstrip()
    return {"boolean": "True or False", "null": "null", "string": "text"}.get(
        str(kind), "a mapping"
    )


def read_value(kind: Any, value: Any, key: object, problems: Problems) -> Any:
    """Return a value, read as a field or type, or `ABSENT` after noting why it is rejected."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        shown, hint = short(value), _hint(error.errors(include_url=False))
    except RecursionError:
        shown, hint = "a value that contains itself", ""
    problems.add(key, f"must be {must_be(kind)}, found {shown}.", hint)
    return ABSENT


def _hint(errors: list[ErrorDetails]) -> str:
    """Return the next step after an error of pydantic's: that of the first type that has one."""
    kinds = {error["type"] for error in errors} - {"none_required"}
    if kinds == {"list_type"}:
        return "Write a list: [...]."
    if kinds == {"string_type"}:
        value = errors[0]["input"]
        return "Write it in quotes." if isinstance(value, (int, float)) else ""
    return next(filter(None, map(_hint_of_type, errors)), "")


def _hint_of_type(error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "int_type" and isinstance(value, float):
        return f"Write {int(value)}." if value.is_integer() and abs(value) < 1e15 else ""
    if kind in ("int_type", "float_type"):
        return _number_in_text(value)
    if abs(context.get("le", context.get("ge", 0))) == LARGEST_FLOAT32:
        return "Weights are of 32 bits: no number beyond 1e38 is read."
    if context.get("le") == LARGEST:
        return "No larger number than 2**63 - 1 is read."
    return ""


def _number_in_text(value: Any) -> str:
    """Say how to write a number that came as text, which YAML makes of ``1e-6``."""
    try:
        text = value.strip() if value.isascii() else ""
        is_number = math.isfinite(float(text))
    except (AttributeError, ValueError):
        return ""
    if not is_number:
        return ""
    if isinstance(yaml.safe_load(text), (int, float)):
        return f"Write {text} without quotes."
    mantissa, _, exponent = text.lower().partition("e")
    mantissa += "" if "." in mantissa else "."
    if exponent:
        mantissa += f"e{exponent}" if exponent[0] in "+-" else f"e+{exponent}"
    return f"YAML reads {text} as text: write {mantissa}."


def read_keys(
    fields: Fields,
    settings: Mapping[Any, Any],
    problems: Problems,
    elsewhere: Mapping[str, str] | None = None,
    others: Any = None,
) -> dict[str, Any]:
    """Return the values of a mapping that are right, in their normal forms, and absent keys' defaults.

    ``elsewhere`` says of keys that are known, but not here, what to do; ``others`` is the type of all keys
    that are no fields, None if there are none.
    """
    hints = {**REJECTED, **(elsewhere or {})}
    values: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in fields and name in RENAMED:
            problems.add(name, "is an old name of FuxiCTR's.", RENAMED[name])
        elif name not in fields and name in hints:
            problems.add(name, "is not allowed here.", hints[name])
        elif isinstance(name, str) and (name in fields or others is not None):
            read = read_value(fields.get(name, others), value, name, problems)
            if read is not ABSENT:
                values[name] = read
        else:
            near = suggest(name, fields) if isinstance(name, str) else "Keys are text."
            problems.add(short(name).strip("'"), "is not a known key.", near)
    for name, field in fields.items():
        if name in settings:
            continue
        if field.is_required():
            text = f"Add it: {field.description}; {must_be(field)}."
            problems.add(name, "is missing.", text)
        elif field.default is not ABSENT:
            values[name] = copy.copy(field.default)
    return values


class Column(NamedTuple):
    """A column of a list of mappings: its place, its values that are right, and whether all are."""

    place: str
    values: dict[str, Any]
    complete: bool

    def problem(self, key: str, text: str, hint: str = "") -> Problem:
        """Return a problem of one of its keys."""
        return Problem(f"{self.place}.{key}", text, hint)


def read_inner(
    fields: Fields, settings: Any, key: str, problems: Problems, others: Any = None
) -> dict[str, Any]:
    """Check a mapping within another one; see `read_keys`."""
    if isinstance(settings, dict):
        within = problems.at(problems.place(key))
        return read_keys(fields, settings, within, others=others)
    problems.add(key, f"must be a mapping, found {short(settings)}.")
    return {}


def read_entries(fields: Fields, entries: Any, key: str, problems: Problems) -> Iterator[Column]:
    """Check a list of mappings, each for one column or several; yield those whose name is right."""
    if not isinstance(entries, list) or not entries:
        problems.add(key, f"must be a list of mappings, found {short(entries)}.")
        return
    for index, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, dict) else None
        first = name[0] if isinstance(name, list) and name else name
        title = f" ({first})" if isinstance(first, str) else ""
        before = len(problems)
        values = read_inner(fields, entry, f"{key}[{index}]{title}", problems)
        names = values.get("name", [])
        for column in names if isinstance(names, list) else [names]:
            place = problems.place(f"{key}[{index}] ({column})")
            yield Column(place, {**values, "name": column}, len(problems) == before)
