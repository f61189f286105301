"""All keys of the configs, as ``fuxictr_stem keys`` shows them: in words, and as JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from fuxictr_stem import registry
from fuxictr_stem.benchmark.run.benchmark_file import BenchmarkFile, Slices
from fuxictr_stem.config import schema
from fuxictr_stem.config.model_parameters import model_fields
from fuxictr_stem.config.reading import JsonSchema, must_be
from fuxictr_stem.runtime.outputs import check_writable, write_text
from fuxictr_stem.tuning.tuner_file import TUNER

SECTIONS: dict[str, tuple[str, Mapping[str, FieldInfo]]] = {
    "experiment": ("an experiment, in model_config", schema.Experiment.model_fields),
    "model": ("parameters of models, in an experiment: those that its model has", schema.MODEL),
    "dataset": ("a dataset, in dataset_config", schema.Dataset.model_fields),
    "feature": ("an entry of a dataset's feature_cols", schema.Feature.model_fields),
    "label": ("an entry of a dataset's label_col", schema.Label.model_fields),
    "prepare": (
        "a dataset's prepare, next to the options of its preparer",
        schema.Prepare.model_fields,
    ),
    "benchmark": ("a benchmark's file", BenchmarkFile.model_fields),
    "tuner": ("a tuner's file", TUNER),
    "slices": ("a benchmark's slices", Slices.model_fields),
}


def key_list(names: Iterable[str] | None = None) -> Iterator[str]:
    """Yield lines with every key of some `SECTIONS`, or all: default, meaning, what its value must be."""
    for name in names or SECTIONS:
        where, fields = SECTIONS[name]
        yield f"{name}: {where}"
        for key, field in fields.items():
            yield f"  {key}{_default(field)}"
            types = schema.column_types(field)
            of_types = f" (of type {', '.join(types)})" if types else ""
            yield f"      {field.description}{of_types}; must be {must_be(field)}"
        yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required)"
    return "" if field.default is schema.ABSENT else f": {json.dumps(field.default)}"


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the config files by kind, for editors."""
    experiment = schema.Experiment.model_json_schema(schema_generator=JsonSchema)
    for name in registry.list_models():
        for key, field in model_fields(registry.get_model(name)).items():
            adapter = TypeAdapter(field.rebuild_annotation())
            of_key = {"description": field.description, **adapter.json_schema()}
            experiment["properties"].setdefault(key, of_key)
    # An experiment may have from Base what it needs.
    del experiment["required"]
    dataset = schema.Dataset.model_json_schema(schema_generator=JsonSchema)
    return {
        "model_config": _of_sections(experiment),
        "dataset_config": {"$defs": dataset.pop("$defs"), **_of_sections(dataset)},
        "benchmark": BenchmarkFile.model_json_schema(schema_generator=JsonSchema),
    }


def _of_sections(section: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a file of sections; what is no id, such as ``.shared``, is for anchors."""
    return {"type": "object", "patternProperties": {"^[A-Za-z0-9]": section}}


def write_json_schemas(folder: Path) -> list[Path]:
    """Write the JSON schemas of the config files into a folder; return the files."""
    check_writable(folder, "--json-schema")
    files = []
    for kind, content in json_schemas().items():
        files.append(folder / f"{kind}.json")
        write_text(files[-1], json.dumps(content, indent=1) + "\n")
    return files
