"""All keys of the configs in words, as ``fuxictr_stem keys`` shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from fuxictr_stem.benchmark.run.benchmark_config import BENCHMARK, SLICES
from fuxictr_stem.config.schema import (
    ABSENT,
    DATASET,
    EXPERIMENT,
    FEATURE,
    LABEL,
    MODEL,
    PREPARE,
    REQUIRED,
    Key,
)

SECTIONS: dict[str, tuple[str, Mapping[str, Key]]] = {
    "experiment": ("an experiment, in model_config", EXPERIMENT),
    "model": ("parameters of models, in an experiment; those that the model has", MODEL),
    "dataset": ("a dataset, in dataset_config", DATASET),
    "feature": ("an entry of a dataset's feature_cols", FEATURE),
    "label": ("an entry of a dataset's label_col", LABEL),
    "prepare": ("a dataset's prepare, beside the options of its preparer", PREPARE),
    "benchmark": ("a benchmark's file", BENCHMARK),
    "slices": ("a benchmark's slices", SLICES),
}


def key_list(names: Iterable[str] | None = None) -> Iterator[str]:
    """Yield lines with every key of some sections: default, meaning, and what its value must be.

    Args:
        names: Names of `SECTIONS`; None is all.
    """
    for name in names or SECTIONS:
        where, keys = SECTIONS[name]
        yield f"{name}: {where}"
        for key, one in keys.items():
            yield f"  {key}{_default(one)}"
            of_types = f" (of type {', '.join(one.types)})" if one.types else ""
            yield f"      {one.meaning}{of_types}; must be {one.kind.rule}"
        yield ""


def _default(key: Key) -> str:
    if key.default is REQUIRED:
        return "  (required)"
    return "" if key.default is ABSENT else f": {json.dumps(key.default)}"
