"""What an experiment changes in its dataset's features: ``use_features`` and ``feature_specs``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fuxictr_stem.config.column_words import META
from fuxictr_stem.config.columns import Columns, misfit_problems, needs_vectors_problems
from fuxictr_stem.config.problems import Problems
from fuxictr_stem.config.reading import read_entries
from fuxictr_stem.config.schema import FEATURE_CHANGES
from fuxictr_stem.errors import Problem, suggest


def use_features_problems(names: Sequence[str] | None, cols: Columns) -> Iterator[Problem]:
    """Yield why ``use_features`` does not name active columns, each once, and not only meta columns."""
    if names is None:
        return
    key = "use_features"
    types = {col["name"]: col["type"] for col in cols if col["active"]}
    unknown = [name for name in names if name not in types]
    for name in unknown:
        yield Problem(key, f"{name!r} is not an active column.", suggest(name, types))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield Problem(key, f"names twice: {', '.join(twice)}.")
    if not unknown and all(types[name] == META for name in names):
        yield Problem(key, "must name a column that is not meta.")


def read_feature_specs(params: dict[str, Any], cols: Columns, problems: Problems) -> None:
    """Check ``feature_specs`` against the columns; settle it into one dict per column, or None."""
    specs, used = params.get("feature_specs"), params.get("use_features")
    params["feature_specs"] = [] if specs else None
    if not specs:
        return
    by_name = {c["name"]: c for c in cols if c["active"] and (not used or c["name"] in used)}
    at_entries = problems.at(str)
    for entry in read_entries(FEATURE_CHANGES, specs, "feature_specs", problems):
        name = entry.values["name"]
        col = by_name.get(name)
        if col is None:
            near = suggest(name, by_name)
            at_entries.add(entry.place, f"{name!r} is not a column in use.", near)
            continue
        at_entries.add_all(misfit_problems(entry, col["type"]))
        if "pretrained_emb" not in col:
            keys = ("pretrain_usage", "freeze_emb")
            at_entries.add_all(needs_vectors_problems(entry, keys, col["type"]))
        params["feature_specs"].append(entry.values)
